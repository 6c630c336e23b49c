"""One layer of a Flow: its quantities, and all that follows, each in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING

from torch import Tensor

from carousel.flow._carousel import CarouselShare, StepTerms, carousel_share, step_terms
from carousel.flow._horizon import Horizon, horizon
from carousel.flow._itemised import Itemised, itemised
from carousel.flow._jacobian import JacobianNorms, jacobian_norms
from carousel.flow._layer_quantities import LayerQuantities
from carousel.flow._notebook import table
from carousel.flow._omega import Omega, omega
from carousel.flow._parameters import ParameterTerms, parameter_terms
from carousel.flow._paths import Paths, paths
from carousel.flow._plots import LayerPlots
from carousel.flow._products import JacobianProduct, eigenvalues, jacobian_product
from carousel.flow._reach import reach
from carousel.flow._spectrum import Spectrum, spectrum
from carousel.flow._split import Split, split
from carousel.flow._tables import dataset, frame, parquet
from carousel.flow._truncated import Gradient1997, gradient_1997
from carousel.flow._truncation import (
    How,
    Truncation,
    TruncationCurve,
    truncation,
    truncation_curve,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["LayerFlow"]


@dataclass(frozen=True, eq=False)
class LayerFlow(LayerQuantities):
    """The quantities of one layer in one direction, and what follows from them.

    The methods go from the gradient itself (where it came from, by which ways) to the Jacobians
    behind it (horizon, norms, spectrum), to the parameters that learn by it, to tables.
    """

    def split(self) -> Split:
        """What of d_h was injected at each step and what was carried there through time."""
        return split(self.trace)

    def itemised(
        self,
        losses: Sequence[int] | None = None,
        *,
        t_from: int = 0,
        t_to: int | None = None,
        vectors_at: Sequence[int] = (),
    ) -> Itemised:
        """G[t_loss, t]: the part of dL/dh_t, and of dL/dc_t, that each step's injection sent.

        Over all losses the items add up to ``d_h`` and ``d_c``, and their shares to 1. Costs
        O(K T B H^2) for K losses, and no pass of the model.

        Args:
            losses: the steps whose injections are followed; None: all.
            t_from: the first step that they are followed to.
            t_to: the step after the last; None: all.
            vectors_at: steps at which the items themselves are kept, not their norms alone.

        Raises:
            CarouselError: steps that are not there, or a result of more than 2 GiB.
        """
        return itemised(self.trace, losses, t_from, t_to, vectors_at)

    def paths(self) -> Paths:
        """How dL/dc_t came (dL/dh_t without a c): along the carousel, by which gate, or injected.

        Parts that add up to the total, their shares, and what the carousel alone would leave.
        """
        return paths(self.trace)

    def carousel_share(self, norm: str = "spectral") -> CarouselShare:
        """How much of ds_T/ds_t is the carousel alone, by lag, in log10, exact at any size.

        Both are derivatives of the state and go on over ``cuts``, which no gradient crosses.
        Costs what ``jacobian_norms`` does, O(T B H^3); ``norm`` is "spectral" or "frobenius".

        Raises:
            CarouselError: of a simple RNN, which has no carousel.
        """
        return carousel_share(self.trace, norm)

    def step_terms(self, step: int) -> StepTerms:
        """dc_t/dc_{t-1} as a sum of terms, h_{t-1} being a function of c_{t-1} (GRU, RNN: of h).

        Args:
            step: t; the one before it is t-1, in the reverse direction t+1.

        Raises:
            CarouselError: in no sequence there is a step before it.
        """
        return step_terms(self.trace, step)

    def gradient_1997(self) -> Gradient1997:
        """The truncated gradient of Hochreiter & Schmidhuber 1997 beside the full one.

        With the difference that the cut makes for each parameter. What arrives from above is taken
        as it came, so in a stack the cut is that of this layer alone. Over a boundary between calls
        where the state was detached or changed, the truncated gradient does not lead.

        Raises:
            CarouselError: of a cell without a cell state c.
        """
        return gradient_1997(self.trace)

    def omega(self) -> Omega:
        """How much the total gradient grows or shrinks at each step: Omega of Pascanu et al. 2013.

        Of an LSTM on the whole state (h, c).
        """
        return omega(self.trace)

    def horizon(self) -> Horizon:
        """The memory horizon in steps, with a 95 % interval from the batch and windows of time.

        The rate is that of the largest singular value of the product of the Jacobians past its
        first steps, of the direction that lasts longest. It is that of the gradient that the layer
        follows: with ``gradient="1997"`` of the truncated one. It is that of the state, and goes on
        over calls that took the state over unchanged, detached or not; over a detached one no
        gradient crosses, and the sentence names those steps (``horizon().cuts``).
        """
        return self._horizon

    def reach(self, lag_steps: int) -> Tensor:
        """What is left of a gradient that one step's loss sends back over a lag, log10 [B] float64.

        The norm of ds_T/ds_{T-lag} along the directions of ``horizon``. NaN for a sequence that is
        shorter, or whose state was changed on the way.

        Args:
            lag_steps: steps back from each sequence's last one.

        Raises:
            CarouselError: no sequence is so long.
        """
        return reach(self.trace, lag_steps)

    @cached_property
    def _horizon(self) -> Horizon:
        return horizon(self.trace)

    def jacobian_norms(self, norm: str = "spectral") -> JacobianNorms:
        """``||ds_T/ds_t||`` by lag, s = (h, c) where there is a c, in log10, exact at any size.

        Costs O(T B H^3); ``norm`` is "spectral" (the largest singular value) or "frobenius",
        which is faster. With ``gradient="1997"`` the Jacobians are those of the truncated gradient.
        They are those of the state: where it was detached (``cuts``) no gradient crosses, but the
        product goes on.
        """
        return jacobian_norms(self.trace, norm)

    def jacobian_product(self, start: int, stop: int, k: int | None = None) -> JacobianProduct:
        """ds_stop/ds_start, s = (h, c): singular values in log10, and their directions.

        Args:
            start: a step of the input.
            stop: a later one. A layer of direction "reverse" comes to it first, so there it is
                ds_start/ds_stop.
            k: how many singular values, the largest ones; None: all of them, at O(S^3) a step.

        Raises:
            CarouselError: a step or k is out of range, or start is not before stop.
        """
        return jacobian_product(self.trace, start, stop, k)

    def eigenvalues(self, step: int) -> Tensor:
        """Eigenvalues of J_step, ds_step by the state before it, [B, S] complex, by size.

        NaN for a sequence that does not reach the step, or whose states there are not finite.
        """
        return eigenvalues(self.trace, step)

    def spectrum(self, k: int | None = None, transient: int | None = None) -> Spectrum:
        """Lyapunov exponents of the state s = (h, c), with standard errors; str() is a sentence.

        Args:
            k: how many, the largest ones; None: all of them, as many as the state has numbers.
            transient: steps left out at the beginning of each sequence; None: a quarter of it, 100
                at most.

        Raises:
            CarouselError: k or transient is out of range.
        """
        return spectrum(self.trace, k, transient)

    def parameter_terms(self, name: str) -> ParameterTerms:
        """The gradient of a parameter as the sum of its T terms, one for each step.

        Costs what the gradient itself does, twice, and O(T) passes over one matrix of its shape.

        Args:
            name: torch's without its suffix, those that there are: "weight_ih", "weight_hh",
                "bias_ih", "bias_hh", "weight_hr" or "weight_peephole".

        Raises:
            CarouselError: there is no such parameter, or the cell was measured as a function.
        """
        return parameter_terms(self.trace, name)

    def truncation(self, k: int, how: How = "window") -> Truncation:
        """What is lost when each step's loss goes back over k steps only, its own included.

        This layer alone is truncated: what arrives from above is taken as it is. Exact; costs
        O(k T B H^2). Of a cell measured as a function, parameters are refused.

        Args:
            k: steps, from 1 on.
            how: "window", or "chunks": the state is detached every k steps.

        Raises:
            CarouselError: a k that is no number of steps, or another word for ``how``.
        """
        return truncation(self.trace, k, how)

    def truncation_curve(self, how: How = "window") -> TruncationCurve:
        """How far each parameter's gradient is from the full one, for every k.

        This layer alone is truncated, as in ``truncation``. Costs O(T^2 B H^2); of "window"
        O(T B H^2) where the loss is on the last step.

        Args:
            how: "window", or "chunks": the state is detached every k steps.

        Raises:
            CarouselError: of a cell that was measured as a function, or another word for ``how``.
        """
        if how not in self._truncation_curves:
            self._truncation_curves[how] = truncation_curve(self.trace, how)
        return self._truncation_curves[how]

    @cached_property
    def _truncation_curves(self) -> dict[How, TruncationCurve]:
        return {}

    def truncation_length(self, relative: float = 0.1, how: How = "window") -> int:
        """The k that keeps the layer's gradient as near as this to the full one.

        Of "window", the smallest k from which on it is: each step's loss goes back over k steps of
        its own. A loop that detaches the state every k steps is "chunks", which mostly take a
        longer k for the same bias; of these, the smallest k that has it, every k being tried, with
        the first chunk at the first step. This layer alone is truncated: what arrives from above is
        taken as it is, so where the layers above are truncated too the bias is another.

        Args:
            relative: ||g_k - g|| / ||g||, the relative bias, of all parameters side by side.
            how: "window" or "chunks".

        Raises:
            CarouselError: one that is not above 0, a gradient that is zero or not finite, a cell
                that was measured as a function, or another word for ``how``.
        """
        return self.truncation_curve(how).length(relative)

    @property
    def plot(self) -> LayerPlots:
        """Pictures by matplotlib: ``layer.plot.gradient()``, ``layer.plot.paths()`` and others."""
        return LayerPlots(self)

    def to_frame(self, quantities: Sequence[str] | None = None) -> pd.DataFrame:
        """A pandas table with one row for each norm.

        Columns: layer, direction, t, sequence, quantity, log10_norm, category. -inf is an exact
        zero, and numbers beyond the range of the dtype are there as numbers; at padding
        ``log10_norm`` is NaN, as it is for a NaN, and ``category`` says which of them it is.

        Args:
            quantities: names as ``norm`` takes them; None: d_h, d_h_injected, d_c, d_c_injected, h
                and c, as far as the layer has them.

        Raises:
            CarouselError: pandas is missing, or the layer has no such quantity.
        """
        return frame({self.name: self}, quantities)

    def to_xarray(
        self, quantities: Sequence[str] | None = None, *, units: bool = False
    ) -> xr.Dataset:
        """An xarray dataset: ``log10_norm`` and ``category`` over (quantity, t, sequence).

        Args:
            quantities: as ``to_frame`` takes them.
            units: also every quantity and gate in full, over (t, sequence, unit).

        Raises:
            CarouselError: xarray is missing, or the layer has no such quantity.
        """
        return dataset(self, quantities, units=units)

    def to_parquet(
        self, path: str | PathLike[str], quantities: Sequence[str] | None = None
    ) -> None:
        """Write the table of ``to_frame`` to a Parquet file; padding is null there, NaN is NaN.

        What the numbers have to be read with (cell, dtype, certificate, notes) is in the file's
        metadata under "carousel", as JSON.

        Raises:
            CarouselError: pyarrow is missing, or the layer has no such quantity.
        """
        parquet({self.name: self}, path, quantities)

    def _repr_html_(self) -> str:
        return table({self.name: self}, self.notes)

    def __repr__(self) -> str:
        shape = f"T={self.steps}, B={self.batch}, H={self.hidden}"
        return f"LayerFlow({self.name!r}, {self.kind}, {shape}, certificate={self.certificate:.1e})"
