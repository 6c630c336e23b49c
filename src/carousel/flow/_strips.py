"""Lines by step with a band around each, and below them a strip for each category that occurs.

Where a norm is zero, underflowed, infinite, NaN or not there, a strip says so: none of them can be
taken for a small number, nor for one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from carousel._drawing import Line, Palette, label_lines, log10_axis, palette_of
from carousel.flow._quantities import Category
from carousel.flow._series import Piece, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "HATCHES",
    "NAMES",
    "Curve",
    "Strip",
    "draw_curves",
    "draw_strips",
    "faces",
    "floor_of",
    "label_curves",
    "mark_range",
    "strips_of",
]

STRIP = 0.052  # the height of a strip, in shares of the axes
GAP = 0.018
HATCHES = {
    Category.ZERO: "////",
    Category.UNDERFLOW: "....",
    Category.INFINITE: "xxxx",
    Category.NAN: "++++",
    Category.PADDING: "-----",
}
NAMES = {
    Category.ZERO: "zero",
    Category.UNDERFLOW: "underflow",
    Category.INFINITE: "infinite",
    Category.NAN: "NaN",
    Category.PADDING: "padding",
}


@dataclass(frozen=True)
class Curve:
    """One line to draw."""

    series: Series
    label: str
    colour: str
    dashed: bool = False
    padding: str = NAMES[Category.PADDING]  # what it means here that a step is not there


@dataclass(frozen=True)
class Strip:
    """Where one category occurs."""

    label: str
    colour: str | None  # of the curve that it is about; None: of all
    category: Category
    pieces: Sequence[Piece]


def draw_curves(
    ax: Axes, curves: Sequence[Curve], *, room: float = 0.0, also: tuple[float, ...] = ()
) -> None:
    """Bands and lines, and the strips below them; all curves run over the same steps.

    Args:
        ax: where to draw.
        curves: from the most important one.
        room: the share of the height between strips and lines that belongs to something else.
        also: log10 values that have to lie on the axis too.
    """
    strips = strips_of(curves)
    floor = floor_of(len(strips)) + room
    levels = [level for curve in curves for level in _levels(curve.series)]
    log10_axis(ax, [*levels, np.array(also)], room_below=floor)
    bottom = _at_share(ax, floor)
    for curve in curves:
        series, at = curve.series, curve.series.centre
        low = np.where(series.low == -math.inf, bottom, series.low)  # a band may reach down to zero
        ax.fill_between(
            *(at, low, series.high),
            where=np.isfinite(low) & np.isfinite(series.high),
            color=curve.colour,
            alpha=0.15,
            linewidth=0,
        )
        known = np.where(np.isfinite(series.median), series.median, np.nan)
        ax.plot(
            *(at, known),
            color=curve.colour,
            linewidth=2,
            linestyle=(0, (1, 1.6)) if curve.dashed else "-",
            label=curve.label,
            solid_capstyle="round",
        )
        alone = np.isfinite(known) & ~_beside(np.isfinite(known))
        ax.plot(at[alone], known[alone], "o", color=curve.colour, markersize=5)
    ax.set_xlim(-0.5, curves[0].series.steps - 0.5)
    if strips:
        draw_strips(ax, strips)
    if floor:
        ax.axhline(bottom, color=palette_of(ax).rule, linewidth=0.8)


def _levels(series: Series) -> tuple[NDArray[np.float64], ...]:
    return series.median, series.low, series.high


def _beside(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which entries have a neighbour that is marked."""
    around = np.pad(known, 1)
    beside: NDArray[np.bool_] = around[:-2] | around[2:]
    return beside


def strips_of(curves: Sequence[Curve]) -> list[Strip]:
    """The strips, from the top; padding is the same for all curves."""
    several = len(curves) > 1
    found = []
    for curve in curves:
        word = curve.label.partition(" ")[0]
        for kind in curve.series.met:
            if kind is not Category.PADDING:
                label = f"{word}: {NAMES[kind]}" if several else NAMES[kind]
                found.append(Strip(label, curve.colour, kind, curve.series.pieces(kind)))
    if Category.PADDING in curves[0].series.met:
        pieces = curves[0].series.pieces(Category.PADDING)
        found.append(Strip(curves[0].padding, None, Category.PADDING, pieces))
    return found


def faces(palette: Palette) -> dict[Category, tuple[str, str]]:
    """Face and ink of each category's mark."""
    return {
        Category.ZERO: palette.zero,
        Category.UNDERFLOW: palette.underflow,
        Category.INFINITE: palette.infinite,
        Category.NAN: palette.nan,
        Category.PADDING: palette.padding,
    }


def draw_strips(ax: Axes, strips: Sequence[Strip]) -> None:
    """Each strip with its name at the left."""
    palette = palette_of(ax)
    below = ax.get_xaxis_transform()  # x in data, y in shares of the axes
    for number, row in enumerate(reversed(strips)):
        bottom = GAP + number * (STRIP + GAP)
        face, ink = faces(palette)[row.category]
        for piece in row.pieces:
            ax.fill_between(
                *((piece.begin, piece.end), bottom, bottom + STRIP * (1 if piece.every else 0.5)),
                transform=below,
                facecolor=face,
                edgecolor=ink,
                hatch=HATCHES[row.category],
                linewidth=0.5,
                label=f"_{row.label}",
            )
        ax.text(
            *(-0.012, bottom + STRIP / 2, row.label),
            transform=ax.transAxes,
            ha="right",
            va="center",
            fontsize=8,
            color=row.colour or palette.quiet,
        )


def floor_of(strips: int) -> float:
    """The share of the axes that so many strips take, from the bottom."""
    return strips * (STRIP + GAP) + GAP if strips else 0.0


def _at_share(ax: Axes, share: float) -> float:
    """The y that lies at this share of the height."""
    low, high = ax.get_ylim()
    return low + share * (high - low)


def mark_range(ax: Axes, dtype: torch.dtype) -> None:
    """The ends of the dtype's range, where the axis reaches them."""
    palette = palette_of(ax)
    low, high = ax.get_ylim()
    limits = torch.finfo(dtype)
    name = str(dtype).removeprefix("torch.")
    for value, words in ((limits.tiny, "smallest normal"), (limits.max, "largest")):
        level = math.log10(value)
        if not low < level < high:
            continue
        ax.axhline(level, color=palette.underflow[1], linewidth=0.9, linestyle=(0, (6, 3)))
        ax.annotate(
            f"{words} {name}",
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=palette.underflow[1],
        )


def label_curves(
    ax: Axes,
    curves: Sequence[Curve],
    slope: Line | None = None,
    *,
    room: float = 0.0,
    clear: Sequence[Line] = (),
) -> None:
    """Labels beside the lines, and the line of the horizon.

    Args:
        ax: where the curves are drawn already.
        curves: that get their labels.
        slope: to be drawn and labelled too.
        room: as in ``draw_curves``.
        clear: lines that no label may lie on.
    """
    lines = [
        Line(
            curve.series.centre,
            np.where(np.isfinite(curve.series.median), curve.series.median, np.nan),
            curve.label,
            curve.colour,
        )
        for curve in curves
    ]
    if slope is not None:
        ax.plot(
            *(slope.x, slope.y),
            color=slope.colour,
            linewidth=1.4,
            linestyle=(0, (5, 2)),
            label=slope.label,
            scalex=False,
            scaley=False,
        )
        lines.append(slope)
    lines += clear
    label_lines(ax, lines, floor_of(len(strips_of(curves))) + room)
