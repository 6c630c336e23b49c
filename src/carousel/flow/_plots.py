"""Pictures of one layer over time. Each takes ``ax`` or makes its own, and returns the axes.

Below the lines lies a strip for each category that occurs: where a norm is zero, underflowed,
infinite, NaN or not there, none of them can be taken for a small number, nor for one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel._drawing import (
    Line,
    Palette,
    axes_for,
    finish,
    label_lines,
    log10_axis,
    palette_of,
)
from carousel._errors import CarouselError
from carousel.flow._quantities import Category
from carousel.flow._series import Series, series_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._flow import LayerFlow

__all__ = ["LayerPlots"]

MOST_BINS = 1000  # more than that no screen shows
MOST_BOUNDARIES = 24  # more calls than these are a loop over single steps, not chunks
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
STATES = ("h", "c")


@dataclass(frozen=True)
class _Curve:
    series: Series
    label: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True, eq=False)
class LayerPlots:
    """The pictures of one layer: ``layer.plot.gradient()`` and others. Needs matplotlib.

    No picture is shown or saved, and no setting is changed:
    ``layer.plot.gradient().figure.savefig("gradient.png")``.
    """

    layer: LayerFlow

    def gradient(self, state: str = "h", ax: Axes | None = None) -> Axes:
        """The norm of the total gradient by step, and of the part injected from above.

        Lines are medians over the sequences, and the band holds those from the 10 % to the 90 %
        quantile. A line ends where most sequences are exactly zero; strips below say why there is
        no number, at full height where it holds for all sequences, at half height for some.

        Args:
            state: "h" or "c": whose gradient.
            ax: where to draw; None: new axes.

        Raises:
            CarouselError: matplotlib is missing, or the layer has no c.
        """
        layer = self.layer
        if state not in STATES or (state == "c" and layer.c is None):
            there = "h" if layer.c is None else "h or c"
            raise CarouselError(
                f"Expected the state whose gradient to plot, {there} for {layer.name} "
                f"({layer.kind}); got {state!r}."
            )
        ax = axes_for(ax)
        palette = palette_of(ax)
        name = f"d_{state}"
        total, injected = (
            series_of(layer.log10_norm(one), layer.category(one), MOST_BINS)
            for one in (name, f"{name}_injected")
        )
        curves = [
            _Curve(total, rf"total $dL/d{state}_t$", palette.lines[0 if state == "h" else 2]),
            _Curve(injected, "injected from above", palette.lines[1], dashed=True),
        ]
        _draw(ax, curves, total)
        _limits(ax, layer.dtype)
        _boundaries(ax, layer)
        way = ", runs from the last step to the first" if layer.direction == "reverse" else ""
        finish(
            ax,
            title=rf"{_plain(layer.name)} ({layer.kind}{way}): gradient on ${state}_t$ by step",
            x="step t",
            y=rf"$\|dL/d{state}_t\|$ over the units (loss per unit of {state})",
            steps=True,
        )
        _label(ax, curves, total)
        return ax

    def jacobian(self, norm: str = "spectral", ax: Axes | None = None) -> Axes:
        """The norm of ds_T/ds_(T-k) by lag k, and the rate of the measured horizon beside it.

        s is the whole state, (h, c) where there is a c, and T the last step of each sequence. Line,
        band and strips are as in ``gradient``. Costs what ``jacobian_norms`` does.

        Args:
            norm: "spectral" or "frobenius".
            ax: where to draw; None: new axes.

        Raises:
            CarouselError: matplotlib is missing, or there is no such norm.
        """
        layer = self.layer
        ax = axes_for(ax)
        palette = palette_of(ax)
        log10 = layer.jacobian_norms(norm).log10
        measured = series_of(log10, _lag_categories(layer, log10), MOST_BINS)
        curves = [_Curve(measured, "product of the Jacobians", palette.lines[0])]
        _draw(ax, curves, measured)
        _limits(ax, layer.dtype)
        state = "(h, c)" if layer.c is not None else "h"
        finish(
            ax,
            title=f"{_plain(layer.name)} ({layer.kind}): what a state leaves of earlier ones",
            x="lag k (steps back from the last one)",
            y=rf"$\|\partial s_T/\partial s_{{T-k}}\|$, {norm} norm, s = {state}",
            steps=True,
        )
        _label(ax, curves, measured, _slope(layer, measured, palette))
        return ax


def _draw(ax: Axes, curves: Sequence[_Curve], padding: Series) -> None:
    """Bands and lines, and the strips below them."""
    palette = palette_of(ax)
    rows = _rows(curves, padding)
    levels = [level for curve in curves for level in _levels(curve.series)]
    log10_axis(ax, levels, room_below=_floor(len(rows)))
    bottom = _at_share(ax, _floor(len(rows)))
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
    ax.set_xlim(-0.5, padding.steps - 0.5)
    if rows:
        _strips(ax, rows, palette)


def _levels(series: Series) -> tuple[NDArray[np.float64], ...]:
    return series.median, series.low, series.high


def _beside(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which entries have a neighbour that is marked."""
    around = np.pad(known, 1)
    beside: NDArray[np.bool_] = around[:-2] | around[2:]
    return beside


def _rows(
    curves: Sequence[_Curve], padding: Series
) -> list[tuple[str, str | None, Category, Series]]:
    """(label, colour of the curve it is about, category, series) of each strip, from the top."""
    several = len(curves) > 1
    rows: list[tuple[str, str | None, Category, Series]] = []
    for curve in curves:
        word = curve.label.partition(" ")[0]
        for kind in curve.series.met:
            if kind is not Category.PADDING:
                label = f"{word}: {NAMES[kind]}" if several else NAMES[kind]
                rows.append((label, curve.colour, kind, curve.series))
    if Category.PADDING in padding.met:
        rows.append((NAMES[Category.PADDING], None, Category.PADDING, padding))
    return rows


def _strips(
    ax: Axes, rows: Sequence[tuple[str, str | None, Category, Series]], palette: Palette
) -> None:
    """A row for each category at the bottom of the axes, named at the left."""
    below = ax.get_xaxis_transform()  # x in data, y in shares of the axes
    faces = {
        Category.ZERO: palette.zero,
        Category.UNDERFLOW: palette.underflow,
        Category.INFINITE: palette.infinite,
        Category.NAN: palette.nan,
        Category.PADDING: palette.padding,
    }
    for number, (label, colour, kind, series) in enumerate(reversed(rows)):
        bottom = GAP + number * (STRIP + GAP)
        face, ink = faces[kind]
        for piece in series.pieces(kind):
            ax.fill_between(
                *((piece.begin, piece.end), bottom, bottom + STRIP * (1 if piece.every else 0.5)),
                transform=below,
                facecolor=face,
                edgecolor=ink,
                hatch=HATCHES[kind],
                hatch_linewidth=0.7,
                linewidth=0.5,
                label=f"_{label}",
            )
        ax.text(
            *(-0.012, bottom + STRIP / 2, label),
            transform=ax.transAxes,
            ha="right",
            va="center",
            fontsize=8,
            color=palette.quiet if colour is None else colour,
        )
    ax.axhline(_at_share(ax, _floor(len(rows))), color=palette.rule, linewidth=0.8)


def _floor(rows: int) -> float:
    """The share of the axes that so many strips take, from the bottom."""
    return rows * (STRIP + GAP) + GAP if rows else 0.0


def _at_share(ax: Axes, share: float) -> float:
    """The y that lies at this share of the height."""
    low, high = ax.get_ylim()
    return low + share * (high - low)


def _limits(ax: Axes, dtype: torch.dtype) -> None:
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


def _boundaries(ax: Axes, layer: LayerFlow) -> None:
    """Where later calls of the module begin."""
    if len(layer.boundaries) <= MOST_BOUNDARIES:
        for step in layer.boundaries:
            ax.axvline(step - 0.5, color=palette_of(ax).quiet, linewidth=0.8, linestyle=(0, (2, 3)))


def _lag_categories(layer: LayerFlow, log10: Tensor) -> Tensor:
    """The category of each norm by lag, [L, B] int8.

    A lag is not there (padding) where the sequence is shorter, or where operations outside the
    module changed the state on the way; every other NaN is one.
    """
    lags = torch.arange(log10.shape[0], device=log10.device).unsqueeze(1)
    lengths = layer.lengths.to(log10.device).unsqueeze(0)
    there = lags < lengths
    for step, unchanged in zip(layer.boundaries, layer.trace.handed_over, strict=True):
        changed = unchanged.isnan().to(log10.device) & (lengths > step)
        there &= ~changed | (lags < lengths - step)
    limits = torch.finfo(layer.dtype)
    kinds = torch.zeros_like(log10, dtype=torch.int8)
    kinds[log10 < math.log10(limits.tiny)] = Category.UNDERFLOW
    kinds[log10 == -math.inf] = Category.ZERO
    kinds[log10 > math.log10(limits.max)] = Category.INFINITE
    kinds[log10.isnan()] = Category.NAN
    kinds[~there] = Category.PADDING
    return kinds


def _slope(layer: LayerFlow, measured: Series, palette: Palette) -> Line | None:
    """The straight line of the measured horizon, through the middle of the lags."""
    horizon = layer.horizon()
    known = np.flatnonzero(np.isfinite(measured.median))
    if not math.isfinite(horizon.rate) or not len(known):
        return None
    at = measured.centre[known]
    middle = len(known) // 2
    level = measured.median[known][middle] + (at - at[middle]) * horizon.rate / math.log(10)
    if horizon.half_life is not None:
        label = f"halves every {horizon.half_life:.3g} steps"
    elif horizon.kind == "growing":
        label = f"doubles every {math.log(2) / horizon.rate:.3g} steps"
    else:
        label = "no measurable decay"
    return Line(at, level, label, palette.lines[1])


def _label(ax: Axes, curves: Sequence[_Curve], padding: Series, slope: Line | None = None) -> None:
    """Labels beside the lines, and the line of the horizon."""
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
    label_lines(ax, lines, _floor(len(_rows(curves, padding))))


def _plain(text: str) -> str:
    """A user's name, in which a dollar sign is no mathematics."""
    return text.replace("$", r"\$")
