"""Pictures of one layer over time. Each takes ``ax`` or makes its own, and returns the axes.

Values are drawn by their log10, so that 1e-400 has its place, and what is no number has a strip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from carousel._drawing import Line, Palette, axes_for, finish, palette_of
from carousel._errors import CarouselError
from carousel.flow._quantities import Category
from carousel.flow._series import Series, series_of
from carousel.flow._strips import Curve, draw_curves, label_curves, mark_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["LayerPlots"]

MOST_BINS = 1000  # more than that no screen shows
MOST_BOUNDARIES = 24  # more calls than these are a loop over single steps, not chunks
STATES = ("h", "c")


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
            Curve(total, rf"total $dL/d{state}_t$", palette.lines[0 if state == "h" else 2]),
            Curve(injected, "injected from above", palette.lines[1], dashed=True),
        ]
        draw_curves(ax, curves)
        mark_range(ax, layer.dtype)
        _boundaries(ax, layer)
        way = ", runs from the last step to the first" if layer.direction == "reverse" else ""
        finish(
            ax,
            title=rf"{_plain(layer.name)} ({layer.kind}{way}): gradient on ${state}_t$ by step",
            x="step t",
            y=rf"$\|dL/d{state}_t\|$ over the units (loss per unit of {state})",
            steps=True,
        )
        label_curves(ax, curves)
        return ax

    def jacobian(self, norm: str = "spectral", ax: Axes | None = None) -> Axes:
        """The norm of ds_T/ds_(T-k) by lag k, and the rate of the measured horizon beside it.

        s is the whole state, (h, c) where there is a c, and T the last step of each sequence. Line,
        band and strips are as in ``gradient``. Costs what ``jacobian_norms`` does.

        The horizon is measured over random directions, and the spectral norm is that of the
        slowest: where directions fade at very different rates and the sequences are short for
        them, as under chrono initialisation, the norm falls more slowly than the horizon says.

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
        curves = [Curve(measured, "product of the Jacobians", palette.lines[0])]
        draw_curves(ax, curves)
        mark_range(ax, layer.dtype)
        state = "(h, c)" if layer.c is not None else "h"
        finish(
            ax,
            title=f"{_plain(layer.name)} ({layer.kind}): what a state leaves of earlier ones",
            x="lag k (steps back from the last one)",
            y=rf"$\|\partial s_T/\partial s_{{T-k}}\|$, {norm} norm, s = {state}",
            steps=True,
        )
        label_curves(ax, curves, _slope(layer, measured, palette))
        return ax


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
        label = f"horizon: halves every {horizon.half_life:.3g} steps"
    elif horizon.kind == "growing":
        label = f"horizon: doubles every {math.log(2) / horizon.rate:.3g} steps"
    else:
        label = "horizon: no measurable decay"
    return Line(at, level, label, palette.lines[1])


def _plain(text: str) -> str:
    """A user's name, in which a dollar sign is no mathematics."""
    return text.replace("$", r"\$")
