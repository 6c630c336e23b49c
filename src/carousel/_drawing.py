"""What every picture made with matplotlib shares: colours, axes, powers of ten, labels on lines.

The colours are those of the HTML report. Values are drawn by their log10 on a linear axis, since
matplotlib's own log axis ends where float64 does and an interesting gradient may be 1e-400. Nothing
here touches ``rcParams``, and text follows the colours that the user's style has set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from carousel._errors import CarouselError
from carousel._optional import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect

__all__ = [
    "Line",
    "Palette",
    "axes_for",
    "finish",
    "label_lines",
    "log10_axis",
    "log10_ticks",
    "palette_of",
    "stroke",
]

SIZE = (7.2, 4.0)  # inches
SMALL = 8.5  # points
NARROW = 1.3  # decades: numbers of similar size get a finer axis
LEAST_DECADES = 0.7  # so that equal numbers have an axis too
MOST_TICKS = 7
# Where a label may stand beside a point: in halves of its width, and in heights; best first.
SIDES = ((0, 0.8), (0, -0.8), (1, 0.4), (-1, -0.4), (-1, 0.4), (1, -0.4), (0, 1.6), (0, -1.6))
SHARES = np.linspace(0.06, 0.94, 23)  # along a line, where its label may stand


@dataclass(frozen=True)
class Palette:
    """Colours on one ground; lines are told apart by label and dashes too."""

    ground: str
    ink: str
    quiet: str
    rule: str
    lines: tuple[str, ...]
    # (face, ink) of the strips that say where there is no plain number
    zero: tuple[str, str]
    underflow: tuple[str, str]
    infinite: tuple[str, str]
    nan: tuple[str, str]
    padding: tuple[str, str]


LIGHT = Palette(
    ground="#ffffff",
    ink="#1b1f26",
    quiet="#535b68",
    rule="#d5d9e0",
    lines=("#1d5fa6", "#b04a06", "#16744a", "#8a3a9c", "#a3264a", "#5c6400", "#00707a", "#555b66"),
    zero=("#ececf0", "#6a6d78"),
    underflow=("#dfe3fb", "#4a52b8"),
    infinite=("#c22a1c", "#ffffff"),
    nan=("#ffffff", "#b0127a"),
    padding=("#ffffff", "#535b68"),
)
DARK = Palette(
    ground="#14161a",
    ink="#e8eaee",
    quiet="#a9b0bd",
    rule="#3a3f49",
    lines=("#7ab8ff", "#ffa057", "#5fd39a", "#d79bf0", "#ff8fae", "#cdd65a", "#57d2dc", "#b9bec8"),
    zero=("#2a2c33", "#9a9eab"),
    underflow=("#1f2350", "#a3abff"),
    infinite=("#e0503f", "#1a0705"),
    nan=("#14161a", "#ff7ad0"),
    padding=("#14161a", "#a9b0bd"),
)
DASHES = ("-", (0, (1, 1.6)), (0, (5, 2)), (0, (7, 2, 1.5, 2)), "-", (0, (1, 1.6)), (0, (5, 2)))


@dataclass(frozen=True)
class Line:
    """A line and the words that stand beside it."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]  # NaN where there is no number
    label: str
    colour: str


def axes_for(ax: Axes | None, purpose: str = "A plot", *, size: tuple[float, float] = SIZE) -> Axes:
    """The axes to draw on: those given, or new ones in a figure of their own, of ``size`` inches.

    Raises:
        CarouselError: matplotlib is not installed, or ``ax`` is something else than axes.
    """
    kind = optional("matplotlib.axes", "plots", purpose).Axes
    if ax is None:
        pyplot = optional("matplotlib.pyplot", "plots", purpose)
        made: Axes = pyplot.subplots(figsize=size, layout="constrained")[1]
        return made
    if not isinstance(ax, kind):
        raise CarouselError(
            f"Expected ax to be the axes of matplotlib to draw on, or None; got "
            f"{type(ax).__name__}. With figure, ax = matplotlib.pyplot.subplots(), pass ax."
        )
    given: Axes = ax
    return given


def palette_of(ax: Axes) -> Palette:
    """The palette that can be read on the ground of these axes."""
    from_name = optional("matplotlib.colors", "plots", "A plot").to_rgba
    red, green, blue, _ = from_name(ax.get_facecolor())
    return DARK if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5 else LIGHT


def finish(ax: Axes, *, title: str, x: str, y: str, steps: bool = False) -> None:
    """Name the axes and take away what carries nothing; ``steps``: x counts whole steps."""
    palette = palette_of(ax)
    ax.set_title(title, loc="left", fontsize=10.5, color=palette.ink, pad=24)
    ax.set_xlabel(x, fontsize=9, color=palette.quiet)
    # Above the axis, where it can be read without turning one's head, and is in no label's way.
    ax.set_ylabel(y, fontsize=9, color=palette.quiet, rotation=0, ha="left", va="bottom")
    ax.yaxis.set_label_coords(0, 1.025)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(palette.rule)
    ax.tick_params(colors=palette.quiet, labelsize=SMALL, length=0, pad=5)
    ax.grid(visible=True, axis="y", color=palette.rule, linewidth=0.6)
    ax.set_axisbelow(True)
    if steps:
        locator = optional("matplotlib.ticker", "plots", "A plot").MaxNLocator
        ax.xaxis.set_major_locator(locator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def log10_axis(ax: Axes, levels: Sequence[NDArray[np.float64]], room_below: float = 0.0) -> None:
    """Scale the y axis to hold these log10 values, and mark powers of ten on it.

    Args:
        ax: where y is a log10.
        levels: what has to fit; what is not finite is left out.
        room_below: the share of the height to keep free at the bottom.
    """
    numbers = np.concatenate([*(np.ravel(level) for level in levels), [math.nan]])
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size == 0:
        ax.set_yticks([])
        ax.set_ylim(0, 1)
        ax.text(0.5, 0.5, "no number to draw", transform=ax.transAxes, ha="center", va="center")
        return
    low, high = float(numbers.min()), float(numbers.max())
    margin = max(0.04 * (high - low), (LEAST_DECADES - (high - low)) / 2)
    narrow = high - low < NARROW
    low, high = low - margin, high + margin
    places, words = log10_ticks(low, high, narrow=narrow)
    ax.set_yticks(places, words)
    ax.set_ylim(low - (high - low) * room_below / (1 - room_below), high)


def log10_ticks(low: float, high: float, *, narrow: bool) -> tuple[list[float], list[str]]:
    """Where a log10 axis is marked from ``low`` to ``high``, and the numbers that it says there.

    Args:
        low: log10 of the lower end.
        high: log10 of the upper end.
        narrow: whether to mark 2 and 5 times the powers of ten too.
    """
    if narrow:
        powers = range(math.floor(low), math.ceil(high) + 1)
        marks = [(digit, power) for power in powers for digit in (1, 2, 5)]
    else:
        step = _nice(max(1.0, (high - low) / (MOST_TICKS - 1)))
        first = math.floor(low / step)
        marks = [(1, step * k) for k in range(first, math.ceil(high / step) + 1)]
    inside = [mark for mark in marks if low <= math.log10(mark[0]) + mark[1] <= high]
    places = [math.log10(digit) + power for digit, power in inside]
    return places, [_power(*mark, narrow=narrow) for mark in inside]


def stroke(ax: Axes) -> list[AbstractPathEffect]:
    """The ground around letters, on which they can be read over lines and colours."""
    outline = optional("matplotlib.patheffects", "plots", "A plot").withStroke
    return [outline(linewidth=2.5, foreground=palette_of(ax).ground)]


def label_lines(ax: Axes, lines: Sequence[Line], floor: float = 0.0) -> None:
    """Write each line's label beside it, where it is farthest from all lines and other labels.

    Args:
        ax: where the lines are drawn already, on their final scale.
        lines: with their labels; a line without one is kept clear of all the same.
        floor: the share of the height, from the bottom, that belongs to something else.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # where the axes lie is known only afterwards
    to_share = ax.transLimits.transform  # data to shares of the axes
    box = ax.get_window_extent()
    paths = [to_share(np.column_stack([line.x, line.y])) for line in lines]
    taken: list[tuple[float, float, float]] = []  # x, y and half the width of a label
    for line, path in zip(lines, paths, strict=True):
        known = path[np.isfinite(path).all(axis=1)]
        if not len(known) or not line.label:
            continue
        text = ax.text(
            *(0.5, 0.5, line.label),
            transform=ax.transAxes,
            color=line.colour,
            fontsize=9,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=stroke(ax),
        )
        extent = text.get_window_extent()
        half, height = extent.width / box.width / 2, extent.height / box.height
        spots = [
            (min(max(x + along * (half + 0.022), half), 1 - half), y + up * height)
            for x, y in known[np.unique((SHARES * (len(known) - 1)).round().astype(int))]
            for along, up in SIDES
        ]
        place = max(spots, key=lambda spot: _room(spot, (half, height), floor, paths, taken))
        text.set_position(place)
        taken.append((*place, half))


def _room(
    spot: tuple[float, float],
    size: tuple[float, float],
    floor: float,
    paths: Sequence[NDArray[np.float64]],
    taken: Sequence[tuple[float, float, float]],
) -> float:
    """How far a label at this spot is from what is drawn already, in shares of the height."""
    (x, y), (half, height) = spot, size
    room = min(1 - y - height / 2, y - floor - height / 2, 0.75 * height)  # more room is no better
    across = np.linspace(x - half, x + half, 9)
    for path in paths:
        known = path[np.isfinite(path).all(axis=1)]
        if len(known):
            there = (across >= known[0, 0]) & (across <= known[-1, 0])
            near = np.abs(known[:, 0] - x) < half + 0.012  # and single points with their marks
            ys = [*np.interp(across[there], known[:, 0], known[:, 1]), *known[near, 1]]
            room = min([room, *(np.abs(np.array(ys) - y) - height / 2)])
    for other_x, other_y, other_half in taken:
        if abs(other_x - x) < half + other_half:
            room = min(room, abs(other_y - y) - height)
    return room


def _nice(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, .. that is not below ``least``."""
    power = int(10 ** math.floor(math.log10(least)))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= least)


def _power(digit: int, exponent: int, *, narrow: bool) -> str:
    """A power of ten, or a multiple of one, as the axis writes it."""
    if exponent in (0, 1) or (narrow and abs(exponent) <= 3):
        return f"{digit * 10.0**exponent:g}"
    return rf"$10^{{{exponent}}}$" if digit == 1 else rf"${digit}\times10^{{{exponent}}}$"
