"""Pictures of what follows from the gradient by step: Omega, terms of a parameter, truncation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from carousel._drawing import Line, axes_for, finish, palette_of, stroke
from carousel.flow._quantities import Category
from carousel.flow._series import Series, kinds_of, series_of
from carousel.flow._strips import Curve, draw_curves, label_curves, mark_range
from carousel.flow._truncation import ALL, TruncationCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["draw_omega", "draw_parameter_terms", "draw_truncation"]

BIAS = 0.1  # the bias of a truncation whose length is marked
AFTER = 0.55  # of the width: up to there a mark leaves room for its words at the right
WORDS = 0.045  # of the height: how far the middle of the words lies from the line
LEAST_BIAS = -5.0  # log10: below, float32 has little but rounding, and nobody needs to know


def draw_omega(layer: LayerFlow, ax: Axes | None, title: str, most_bins: int) -> Axes:
    """See ``LayerPlots.omega``."""
    found = layer.omega()
    ax = axes_for(ax)
    palette = palette_of(ax)
    ratio = series_of(found.log10_ratio, found.category, most_bins)
    side = "before" if layer.direction == "reverse" else "after"
    ragged = bool((layer.lengths < layer.steps).any())
    last = f"no step {side}" + (", padding" if ragged else "")
    curves = [Curve(ratio, "growth per step", palette.lines[0], padding=last)]
    draw_curves(ax, curves, also=(0.0,))
    ax.axhline(0.0, color=palette.ink, linewidth=0.9)
    state = "(h, c)" if layer.c is not None else "h"
    step = "t-1" if layer.direction == "reverse" else "t+1"
    finish(
        ax,
        title=title,
        x="step t",
        y=rf"$\|v_{{{step}}}\,\partial s_{{{step}}}/\partial s_t\|\,/\,\|v_{{{step}}}\|$, "
        f"s = {state}, v the total gradient; 1 keeps its size",
        steps=True,
    )
    label_curves(ax, curves)
    return ax


def draw_parameter_terms(
    layer: LayerFlow, ax: Axes | None, name: str, title: str, most_bins: int
) -> Axes:
    """See ``LayerPlots.parameter_terms``."""
    found = layer.parameter_terms(name)
    ax = axes_for(ax)
    palette = palette_of(ax)

    def series(log10: Tensor) -> Series:
        column = log10.unsqueeze(1)
        there = layer.trace.valid.any(1, keepdim=True)
        return series_of(column, kinds_of(column, layer.dtype, there), most_bins)

    curves = [
        Curve(series(found.log10_norms), "term of step t", palette.lines[0]),
        Curve(series(found.log10_from_end), "sum from t on", palette.lines[1], dashed=True),
    ]
    draw_curves(ax, curves)
    mark_range(ax, layer.dtype)
    finish(
        ax,
        title=title,
        x="step t",
        y="Frobenius norm over the parameter (loss per unit of weight), the batch added up",
        steps=True,
    )
    label_curves(ax, curves)
    return ax


def draw_truncation(layer: LayerFlow, ax: Axes | None, title: str) -> Axes:
    """See ``LayerPlots.truncation``."""
    found = layer.truncation_curve()
    ax = axes_for(ax)
    palette = palette_of(ax)
    matrices = [name for name in found.parameters if name.startswith("weight")]
    curves = [Curve(_bias(found.relative), "all parameters", palette.lines[0])]
    curves += [
        Curve(_bias(found.parameters[name]), name, palette.lines[place], dashed=True)
        for name, place in zip(matrices, (1, 2, 3, 4), strict=False)
    ]
    drawn = any(np.isfinite(curve.series.median).any() for curve in curves)
    draw_curves(ax, curves, also=(math.log10(BIAS),) if drawn else ())
    clear = _mark_length(ax, found) if drawn else []
    ended = _mark_ends(ax, curves)
    if not drawn:
        _say_why(ax, found)
    below = "; triangle: below $10^{-5}$ from there on" if ended else ""
    finish(
        ax,
        title=title,
        x=f"steps k that each loss goes back over{below}",
        y="relative bias of the gradient, |g_k - g| / |g|",
        steps=True,
    )
    ax.set_xlim(0.5, len(found.k) + 0.5)
    label_curves(ax, curves, clear=clear)
    return ax


def _bias(bias: Tensor) -> Series:
    """By k from 1 on; k = 0 is empty, and so is what is too small to matter."""
    log10 = torch.cat([bias.new_full((1,), math.nan), bias]).unsqueeze(1).log10()
    kinds = torch.zeros_like(log10, dtype=torch.int8)
    kinds[1:][log10[1:].isnan()] = Category.NAN
    return series_of(torch.where(log10 < LEAST_BIAS, math.nan, log10), kinds, len(log10))


def _mark_ends(ax: Axes, curves: Sequence[Curve]) -> bool:
    """A triangle where a line ends before the last k; whether there is one."""
    found = False
    for curve in curves:
        known = np.flatnonzero(np.isfinite(curve.series.median))
        counts = curve.series.counts[:, Category.NAN]
        if not len(known) or known[-1] == curve.series.steps - 1 or counts[-1]:
            continue
        end = known[-1]
        ax.plot(
            *([curve.series.centre[end]], [curve.series.median[end]], "v"),
            color=curve.colour,
            markersize=7,
            label=f"_end {curve.label}",
        )
        found = True
    return found


def _say_why(ax: Axes, found: TruncationCurve) -> None:
    """Why there is nothing to draw, below the words that say so."""
    why = found.without.get(ALL)
    words = f"the gradient is {why}" if why else "no bias is above $10^{-5}$"
    ax.text(
        *(0.5, 0.42, words),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=9,
        color=palette_of(ax).quiet,
    )


def _mark_length(ax: Axes, found: TruncationCurve) -> list[Line]:
    """The line of 10 %, and from which k on the bias stays below it; where no label may lie."""
    palette = palette_of(ax)
    level, last = math.log10(BIAS), len(found.k) + 0.5
    ax.axhline(level, color=palette.ink, linewidth=0.9, linestyle=(0, (6, 3)))
    clear = [Line(np.array([0.5, last]), np.full(2, level), "", palette.ink)]
    if ALL in found.without:
        return clear
    k = found.length(BIAS)
    ax.plot([k], [level], "o", color=palette.ink, markersize=6, label=f"_length {k}")
    # After k the curve lies below the line, and before it above: the words go to the other side.
    after = k <= AFTER * last
    ax.annotate(
        f"at most {100 * BIAS:.0f} % from k = {k} on",
        (1 if after else 0, level),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 4) if after else (3, -4),
        textcoords="offset points",
        ha="right" if after else "left",
        va="bottom" if after else "top",
        fontsize=9,
        fontweight="bold",
        color=palette.ink,
        path_effects=stroke(ax),
    )
    low, high = ax.get_ylim()
    words = level + (WORDS if after else -WORDS) * (high - low)
    where = np.array([AFTER * last, last] if after else [0.5, (1 - AFTER) * last])
    return [*clear, Line(where, np.full(2, words), "", palette.ink)]
