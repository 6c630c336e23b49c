"""Pictures of one layer over time. Each takes ``ax`` or makes its own, and returns the axes.

Values are drawn by their log10, so that 1e-400 has its place, and what is no number has a strip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from carousel._drawing import Line, Palette, axes_for, finish, palette_of
from carousel._errors import CarouselError
from carousel.flow._one_step import linearised
from carousel.flow._plot_itemised import draw_itemised
from carousel.flow._plot_over_time import draw_omega, draw_parameter_terms, draw_truncation
from carousel.flow._plot_paths import draw_paths
from carousel.flow._plot_spectrum import draw_spectrum
from carousel.flow._series import Series, kinds_of, series_of
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
        self._refuse_no_state(state)
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
        finish(
            ax,
            title=_title(layer, f"gradient on ${state}_t$ by step"),
            x="step t",
            y=rf"$\|dL/d{state}_t\|$ over the units (loss per unit of {state})",
            steps=True,
        )
        label_curves(ax, curves)
        return ax

    def jacobian(self, norm: str = "spectral", ax: Axes | None = None) -> Axes:
        """The norm of ds_T/ds_(T-k) by lag k, and the rate of the measured horizon beside it.

        s is the whole state, (h, c) where there is a c, and T the last step of each sequence. Where
        there is a carousel, a second line is the norm of what passes along it alone. Line, band and
        strips are as in ``gradient``. Costs what ``jacobian_norms`` does.

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
        by_lag = {"product of the Jacobians": palette.lines[0]}
        if _has_carousel(layer):
            share = layer.carousel_share(norm)
            by_lag["carousel alone"] = palette.lines[2]
            norms = [share.log10_full, share.log10_carousel]
        else:
            norms = [layer.jacobian_norms(norm).log10]
        curves = [
            Curve(
                series_of(log10, _lag_categories(layer, log10), MOST_BINS),
                *(label, colour),
                dashed=number > 0,
            )
            for number, ((label, colour), log10) in enumerate(
                zip(by_lag.items(), norms, strict=True)
            )
        ]
        draw_curves(ax, curves)
        mark_range(ax, layer.dtype)
        state = "(h, c)" if layer.c is not None else "h"
        finish(
            ax,
            title=_title(layer, "what a state leaves of earlier ones"),
            x="lag k (steps back from the last one)",
            y=rf"$\|\partial s_T/\partial s_{{T-k}}\|$, {norm} norm, s = {state}",
            steps=True,
        )
        label_curves(ax, curves, _slope(layer, curves[0].series, palette))
        return ax

    def paths(self, ax: Axes | None = None) -> Axes:
        """How the total gradient on c_t came (on h_t without a c): norms above, shares below.

        The lines are the norms of the total and of what the carousel alone would leave of it, as in
        ``gradient``. The area stacks the shares of ``paths()`` by step, the batch taken as one
        vector: sum of <part, total> over sum of <total, total>. They add up to 1; what points
        against the total hangs below 0. A triangle says that a share goes on beyond -100 % or
        200 %. There is no area where the total is zero or not finite.

        Args:
            ax: where to draw; None: new axes.

        Raises:
            CarouselError: matplotlib is missing, or the layer's equations are not known.
        """
        layer = self.layer
        return draw_paths(layer, ax, _title(layer, "the way of the gradient"), MOST_BINS)

    def spectrum(
        self, k: int | None = None, transient: int | None = None, ax: Axes | None = None
    ) -> Axes:
        """The Lyapunov exponents from the largest on, with standard errors.

        Above 0 nearby states part, below it they approach each other. The band holds the finite
        time exponents of the sequences from the 10 % to the 90 % quantile. A strip says which
        exponents are -inf, zero or too small to be told from it, and which are NaN, at half height
        where sequences with NaN do not count. Costs what ``spectrum`` does.

        Args:
            k: as ``spectrum`` takes it.
            transient: as ``spectrum`` takes it.
            ax: where to draw; None: new axes.

        Raises:
            CarouselError: matplotlib is missing, or k or transient is out of range.
        """
        return draw_spectrum(self.layer, ax, k, transient, _title(self.layer, "Lyapunov spectrum"))

    def itemised(
        self, state: str = "h", losses: Sequence[int] | None = None, ax: Axes | None = None
    ) -> Axes:
        """Which step's loss (up) sent how much of the gradient to which step (across).

        Colours are log10 norms, the median over the sequences; zero, underflow, infinity, NaN and
        padding have the marks of the other pictures, where they hold for most sequences; NaN in
        fewer is hatched over the number of the others. White is where a loss sends nothing because
        it lies before the step. Costs what ``itemised`` does.

        Args:
            state: "h" or "c": whose gradient.
            losses: steps whose injections are followed; None: all, evenly chosen ones of very many.
            ax: where to draw; None: new axes.

        Raises:
            CarouselError: matplotlib is missing, the layer has no c, or the result is too large.
        """
        layer = self.layer
        self._refuse_no_state(state)
        return draw_itemised(layer, ax, state, losses, _title(layer, "gradient by step and loss"))

    def truncation(self, ax: Axes | None = None) -> Axes:
        """The relative bias of the layer's gradient when it is truncated at k steps, by k.

        A line for all parameters together and one for each matrix; the mark is the smallest k from
        which on the bias of all is at most 10 %. A line ends with a triangle where
        its bias is below 1e-5 from there on. Costs
        what ``truncation_curve`` does.

        Raises:
            CarouselError: matplotlib is missing.
        """
        return draw_truncation(self.layer, ax, _title(self.layer, "truncated backpropagation"))

    def parameter_terms(self, name: str, ax: Axes | None = None) -> Axes:
        """The norm of each step's term of a parameter's gradient, and of sums of terms.

        Args:
            name: as ``parameter_terms`` takes it.
            ax: where to draw; None: new axes.

        Raises:
            CarouselError: matplotlib is missing, or the layer has no such parameter.
        """
        layer = self.layer
        return draw_parameter_terms(
            layer, ax, name, _title(layer, f"gradient of {name}"), MOST_BINS
        )

    def omega(self, ax: Axes | None = None) -> Axes:
        """By how much the total gradient grows or shrinks from step t+1 to step t.

        The ratio whose distance from 1, squared, is Omega_t of Pascanu et al. 2013. Line, band and
        strips are as in ``gradient``.

        Raises:
            CarouselError: matplotlib is missing.
        """
        layer = self.layer
        return draw_omega(layer, ax, _title(layer, "growth of the gradient by step"), MOST_BINS)

    def _refuse_no_state(self, state: str) -> None:
        layer = self.layer
        if state not in STATES or (state == "c" and layer.c is None):
            there = "h" if layer.c is None else "h or c"
            raise CarouselError(
                f"Expected the state whose gradient to plot, {there} for {layer.name} "
                f"({layer.kind}); got {state!r}."
            )


def _title(layer: LayerFlow, words: str) -> str:
    way = ", runs from the last step to the first" if layer.direction == "reverse" else ""
    return f"{_plain(layer.name)} ({layer.kind}{way}): {words}"


def _has_carousel(layer: LayerFlow) -> bool:
    """Whether there is a way on which the state passes without the weights."""
    return layer.trace.cell.derived and linearised(layer.trace).keep is not None


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
    return kinds_of(log10, layer.dtype, there)


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
