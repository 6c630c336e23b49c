"""A Flow: the exact quantities over time of every recurrent layer in one backward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow._carousel import CarouselShare, StepTerms, carousel_share, step_terms
from carousel.flow._horizon import Horizon, horizon
from carousel.flow._itemised import Itemised, itemised
from carousel.flow._jacobian import JacobianNorms, jacobian_norms
from carousel.flow._nonfinite import NonFinite, first_nonfinite
from carousel.flow._notebook import table
from carousel.flow._omega import Omega, omega
from carousel.flow._parameters import ParameterTerms, parameter_terms
from carousel.flow._paths import Paths, paths
from carousel.flow._plots import LayerPlots
from carousel.flow._products import JacobianProduct, eigenvalues, jacobian_product
from carousel.flow._quantities import categories, pre_activations, quantity
from carousel.flow._reach import reach
from carousel.flow._slowest import slowest
from carousel.flow._spectrum import Spectrum, spectrum
from carousel.flow._split import Split, split
from carousel.flow._tables import dataset, frame, parquet, tree
from carousel.flow._tiny import Tiny, tiny
from carousel.flow._truncated import Gradient1997, gradient_1997
from carousel.flow._truncation import (
    How,
    Truncation,
    TruncationCurve,
    truncation,
    truncation_curve,
)
from carousel.trace import Trace

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Flow", "LayerFlow"]


@dataclass(frozen=True, eq=False)
class LayerFlow:
    """The quantities of one layer in one direction; time first, in the order of the input.

    ``d_h`` is the *total* gradient dL/dh_t: every way in which h_t reaches the loss, through later
    steps too. ``d_h_injected`` is the part that did not come through time. Shapes: T steps,
    B sequences, H units (P = H without projection).
    """

    trace: Trace

    @property
    def name(self) -> str:
        """Module path and torch's suffix, such as ``encoder.lstm.l0_reverse``."""
        return self.trace.name

    @property
    def kind(self) -> str:
        """The recurrence: "LSTM", "GRU", "RNN tanh", .."""
        return self.trace.cell.name

    @property
    def direction(self) -> str:
        """Either "forward" or "reverse"."""
        return self.trace.direction

    @property
    def gradient(self) -> str:
        """Which gradient came back: "full", or "1997", the truncated one of carousel.LSTM."""
        return self.trace.gradient

    @property
    def steps(self) -> int:
        """T."""
        return self.trace.x.shape[0]

    @property
    def batch(self) -> int:
        """B."""
        return self.trace.x.shape[1]

    @property
    def hidden(self) -> int:
        """H: the width of the gates, and of c where there is one."""
        trajectory = self.trace.trajectory
        widest = next(iter(trajectory.gates.values()), trajectory.c)
        return (trajectory.h if widest is None else widest).shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the module's arithmetic; the quantities are in float32, or float64 for float64."""
        return self.trace.dtype

    @property
    def device(self) -> torch.device:
        """Where the quantities are: on the module's device."""
        return self.trace.x.device

    @cached_property
    def d_h(self) -> Tensor:
        """dL/dh_t in total [T, B, P]."""
        return self.trace.d_h.value()

    @cached_property
    def d_c(self) -> Tensor | None:
        """dL/dc_t in total [T, B, H], what reaches c_t through h_t included; None without c."""
        return None if self.trace.d_c is None else self.trace.d_c.value()

    @cached_property
    def d_h_injected(self) -> Tensor:
        """The part of dL/dh_t that arrived at step t from outside the recurrence [T, B, P].

        Where a later call sent a part back, this is the difference of what arrived and that part,
        as exact as the rounding of the total: an injection far below the total may show as zero.
        """
        return self.trace.d_h_injected.value()

    @cached_property
    def d_c_injected(self) -> Tensor | None:
        """The part of dL/dc_t from outside: a loss on c_n [T, B, H]; None without c."""
        return None if self.trace.d_c_injected is None else self.trace.d_c_injected.value()

    @cached_property
    def d_h0(self) -> Tensor:
        """dL/dh_0, on the initial state [B, P]."""
        return self.trace.d_h_start.value()[0]

    @cached_property
    def d_c0(self) -> Tensor | None:
        """dL/dc_0, on the initial cell state [B, H]; None without c."""
        return None if self.trace.d_c_start is None else self.trace.d_c_start.value()[0]

    @property
    def h(self) -> Tensor:
        """h_t of the module [T, B, P]."""
        return self.trace.trajectory.h

    @property
    def c(self) -> Tensor | None:
        """c_t [T, B, H]; None for a cell without one."""
        return self.trace.trajectory.c

    @property
    def gates(self) -> Mapping[str, Tensor]:
        """Activations by name, each [T, B, H]: LSTM i, f, g, o; GRU r, z, n; RNN h.

        Raises:
            CarouselError: of a cell that was measured as a function of which nothing more is known.
        """
        if not self.trace.cell.derived:
            raise CarouselError(
                f"{self.name} was measured as a function (x_t, state) -> state, so its gates are "
                "not known. Measure torch.nn.RNN, LSTM or GRU, or one of Carousel's layers, with "
                "carousel.measure to see them."
            )
        return self.trace.trajectory.gates

    @cached_property
    def pre_activations(self) -> Mapping[str, Tensor]:
        """The arguments of the activations, by the same names, each [T, B, H]."""
        return pre_activations(self.trace)

    @property
    def lengths(self) -> Tensor:
        """Valid steps of each sequence [B] int64."""
        return self.trace.lengths

    @property
    def certificate(self) -> float:
        """max |h recomputed - h of the module|, over all steps and, at the last, c too.

        In a stack every layer has that of the layer that was met worst, relative to its limit:
        gradients have come through all of them.
        """
        return self.trace.certificate

    @property
    def certificate_limit(self) -> float:
        """What rounding can explain of the certificate."""
        return self.trace.certificate_limit

    @property
    def notes(self) -> tuple[str, ...]:
        """What altered the gradient, or limits what was seen, in sentences."""
        return self.trace.notes

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps at which a later call of the module begins; () for one call."""
        return self.trace.boundaries

    @property
    def cuts(self) -> tuple[int, ...]:
        """Steps before which the state was carried over, but its gradient, or a part of it, cut.

        0 where the first state came detached from a call of an earlier pass.
        """
        return self.trace.cuts

    def norm(self, name: str) -> Tensor:
        """Euclidean norm over the units of a quantity, [T, B]; 0 at padding.

        Args:
            name: "d_h", "d_c", "d_h_injected", "d_c_injected", "h", "c" or "x".
        """
        norm = torch.exp2(quantity(self.trace, name).log2_norm()).to(self.h.dtype)
        return torch.where(self.trace.valid, norm, 0.0)

    def log10_norm(self, name: str) -> Tensor:
        """log10 of the norm, [T, B] float64, on a running scale: -400.0 is a possible value.

        -inf is an exact zero, NaN stays NaN. Padding is -inf.
        """
        log10 = quantity(self.trace, name).log2_norm() * math.log10(2)
        return torch.where(self.trace.valid, log10, -math.inf)

    def category(self, name: str) -> Tensor:
        """Which of ``carousel.flow.Category`` each norm is, [T, B] int8."""
        return categories(quantity(self.trace, name), self.dtype, self.trace.valid)

    def tiny(self, name: str) -> Tiny:
        """How much of each step is zero, or below the normal numbers of the module's dtype, [T].

        Args:
            name: a quantity as in ``norm``, or one of ``gates``.

        Raises:
            CarouselError: a name that this layer does not have.
        """
        return tiny(self.trace, name)

    def jacobian_norms(self, norm: str = "spectral") -> JacobianNorms:
        """``||ds_T/ds_t||`` by lag, s = (h, c) where there is a c, in log10, exact at any size.

        Costs O(T B H^3); ``norm`` is "spectral" (the largest singular value) or "frobenius",
        which is faster. With ``gradient="1997"`` the Jacobians are those of the truncated gradient.
        """
        return jacobian_norms(self.trace, norm)

    def paths(self) -> Paths:
        """How dL/dc_t came (dL/dh_t without a c): along the carousel, by which gate, or injected.

        Parts that add up to the total, their shares, and what the carousel alone would leave.
        """
        return paths(self.trace)

    def step_terms(self, step: int) -> StepTerms:
        """dc_t/dc_{t-1} as a sum of terms, h_{t-1} being a function of c_{t-1} (GRU, RNN: of h).

        Args:
            step: t; the one before it is t-1, in the reverse direction t+1.

        Raises:
            CarouselError: in no sequence there is a step before it.
        """
        return step_terms(self.trace, step)

    def carousel_share(self, norm: str = "spectral") -> CarouselShare:
        """How much of ds_T/ds_t is the carousel alone, by lag, in log10, exact at any size.

        Costs what ``jacobian_norms`` does, O(T B H^3); ``norm`` is "spectral" or "frobenius".

        Raises:
            CarouselError: of a simple RNN, which has no carousel.
        """
        return carousel_share(self.trace, norm)

    def gradient_1997(self) -> Gradient1997:
        """The truncated gradient of Hochreiter & Schmidhuber 1997 beside the full one.

        With the error of the cut for each parameter. What arrives from above is taken as it came,
        so in a stack the cut is that of this layer alone. Over a boundary between calls where the
        state was detached or changed, the truncated gradient does not lead.

        Raises:
            CarouselError: of a cell without a cell state c.
        """
        return gradient_1997(self.trace)

    def parameter_terms(self, name: str) -> ParameterTerms:
        """The gradient of a parameter as the sum of its T terms, one for each step.

        Costs what the gradient itself does, twice, and O(T) passes over one matrix of its shape.

        Args:
            name: "w_ih", "w_hh", "b_ih", "b_hh", "w_hr" or "peephole", those that there are.
        """
        return parameter_terms(self.trace, name)

    def omega(self) -> Omega:
        """How much the total gradient grows or shrinks at each step: Omega of Pascanu et al. 2013.

        Of an LSTM on the whole state (h, c).
        """
        return omega(self.trace)

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

    def horizon(self) -> Horizon:
        """The memory horizon in steps, with a 95 % interval from the batch and windows of time.

        It is that of the gradient that the layer follows: with ``gradient="1997"`` of the truncated
        one. It goes on over calls that took the state over unchanged, detached or not.
        """
        return self._horizon

    @cached_property
    def _horizon(self) -> Horizon:
        return horizon(self.trace)

    def reach(self, lag_steps: int) -> Tensor:
        """What is left of a gradient that one step's loss sends back over a lag, log10 [B] float64.

        The norm of ds_T/ds_{T-lag}, along the random rows of ``horizon`` beside what it is at lag
        0: the root of the mean square over all directions, as far as those rows stand for them.
        NaN for a sequence that is shorter, or whose state was changed on the way.

        Args:
            lag_steps: steps back from each sequence's last one.

        Raises:
            CarouselError: no sequence is so long.
        """
        return reach(self.trace, lag_steps)

    @property
    def plot(self) -> LayerPlots:
        """Pictures of this layer: ``layer.plot.gradient()``, ``layer.plot.jacobian()``."""
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

    def truncation(self, k: int, how: How = "window") -> Truncation:
        """What is lost when each step's loss goes back over k steps only, its own included.

        This layer alone is truncated: what arrives from above is taken as it is. Exact; costs
        O(k T B H^2).

        Args:
            k: steps, from 1 on.
            how: "window", or "chunks": the state is detached every k steps.

        Raises:
            CarouselError: a k that is no number of steps, or another word for ``how``.
        """
        return truncation(self.trace, k, how)

    def truncation_curve(self) -> TruncationCurve:
        """The relative bias of every parameter's gradient for every k, of the kind "window".

        Costs O(T^2 B H^2) where there is a loss at each step, O(T B H^2) where it is on the last.
        """
        return self._truncation_curve

    @cached_property
    def _truncation_curve(self) -> TruncationCurve:
        return truncation_curve(self.trace)

    def truncation_length(self, bias: float = 0.1) -> int:
        """The smallest k from which on the relative bias of the layer's gradient is at most this.

        Raises:
            CarouselError: a bias that is not above 0, or a gradient that is zero or not finite.
        """
        return self.truncation_curve().length(bias)

    def __repr__(self) -> str:
        shape = f"T={self.steps}, B={self.batch}, H={self.hidden}"
        return f"LayerFlow({self.name!r}, {self.kind}, {shape}, certificate={self.certificate:.1e})"


@dataclass(frozen=True, eq=False)
class Flow:
    """The layers that one backward pass went through, by name: ``flow["encoder.lstm.l0"]``."""

    layers: Mapping[str, LayerFlow]
    remarks: tuple[str, ...] = ()  # what concerns no single layer

    def __getitem__(self, name: str) -> LayerFlow:
        try:
            return self.layers[name]
        except KeyError:
            raise CarouselError(
                f"There is no layer {name!r} in this flow. "
                f"Its layers are: {', '.join(self.layers)}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def nonfinite(self) -> tuple[NonFinite, ...]:
        """Where NaN or infinity first arises in each layer: forward findings before backward ones.

        The first entry is the first in the order of computation.
        """
        layers = self.layers.values()
        found = [finding for layer in layers for finding in first_nonfinite(layer.trace)]
        forward = [finding for finding in found if finding.phase == "forward"]
        backward = [finding for finding in found if finding.phase == "backward"]
        return (*forward, *reversed(backward))

    @property
    def slowest(self) -> LayerFlow:
        """The layer whose gradient decays least by lag, or grows most."""
        return self.layers[slowest({name: self.layers[name].horizon() for name in self.layers})]

    def horizon(self) -> Horizon:
        """The horizon of the slowest layer.

        In the long run it is that of a whole stack's state, whose Jacobians are block triangular.
        Of bidirectional or unrelated layers it is the slowest one's, and no more than that.
        """
        return self.slowest.horizon()

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks, and the notes of all layers, each under its layer's name."""
        layers = self.layers.items()
        notes = tuple(f"{name}: {note}" for name, layer in layers for note in layer.notes)
        return self.remarks + notes

    def to_frame(self, quantities: Sequence[str] | None = None) -> pd.DataFrame:
        """The tables of all layers, one below the other; see ``LayerFlow.to_frame``.

        Quantities of c are left out where a layer has none.
        """
        return frame(self.layers, quantities)

    def to_xarray(
        self, quantities: Sequence[str] | None = None, *, units: bool = False
    ) -> xr.DataTree:
        """A tree with the dataset of each layer under its name; see ``LayerFlow.to_xarray``."""
        return tree(self.layers, quantities, self.remarks, units=units)

    def to_parquet(
        self, path: str | PathLike[str], quantities: Sequence[str] | None = None
    ) -> None:
        """Write the tables of all layers to one Parquet file; see ``LayerFlow.to_parquet``."""
        parquet(self.layers, path, quantities, self.remarks)

    def _repr_html_(self) -> str:
        return table(self.layers, self.notes)

    def __repr__(self) -> str:
        return f"Flow({', '.join(map(repr, self.layers.values()))})"
