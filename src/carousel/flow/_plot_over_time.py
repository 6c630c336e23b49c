"""Pictures of what follows from the gradient by step: Omega, terms of a parameter, truncation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from carousel._drawing import Line, axes_for, finish, palette_of
from carousel.flow._quantities import Category
from carousel.flow._series import Series, kinds_of, series_of
from carousel.flow._strips import Curve, draw_curves, label_curves, mark_range
from carousel.flow._truncation import TruncationCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["draw_omega", "draw_parameter_terms", "draw_truncation"]

BIAS = 0.1  # the bias of a truncation whose length is marked
LEAST_BIAS = -5.0  # log10: below, float32 has little but rounding, and nobody needs to know


def draw_omega(layer: LayerFlow, ax: Axes | None, title: str, most_bins: int) -> Axes:
    """See ``LayerPlots.omega``."""
    found = layer.omega()
    ax = axes_for(ax)
    palette = palette_of(ax)
    ratio = series_of(found.log10_ratio, found.category, most_bins)
    curves = [Curve(ratio, "growth per step", palette.lines[0])]
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
    draw_curves(ax, curves, also=(math.log10(BIAS),))
    length = _mark_length(ax, found)
    finish(
        ax,
        title=title,
        x="steps k that each loss goes back over",
        y="relative bias of the gradient, |g_k - g| / |g|",
        steps=True,
    )
    ax.set_xlim(0.5, len(found.k) + 0.5)
    label_curves(ax, curves, length)
    return ax


def _bias(bias: Tensor) -> Series:
    """By k from 1 on; k = 0 is empty, and so is what is too small to matter."""
    log10 = torch.cat([bias.new_full((1,), math.nan), bias]).unsqueeze(1).log10()
    kinds = torch.zeros_like(log10, dtype=torch.int8)
    kinds[1:][log10[1:].isnan()] = Category.NAN
    return series_of(torch.where(log10 < LEAST_BIAS, math.nan, log10), kinds, len(log10))


def _mark_length(ax: Axes, found: TruncationCurve) -> Line | None:
    """The line of 10 %, and from which k on the bias stays below it, with what to say there."""
    palette = palette_of(ax)
    level = math.log10(BIAS)
    ax.axhline(level, color=palette.ink, linewidth=0.9, linestyle=(0, (6, 3)))
    if bool(found.relative.isnan().any()):
        return None
    k = found.length(BIAS)
    ax.plot([k], [level], "o", color=palette.ink, markersize=6, label=f"_length {k}")
    words = f"at most {100 * BIAS:.0f} % from k = {k} on"
    return Line(np.array([float(k)]), np.array([level]), words, palette.ink)
