"""A Flow: the exact quantities over time of every recurrent layer in one backward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow._horizon import Horizon, horizon
from carousel.flow._jacobian import JacobianNorms, jacobian_norms
from carousel.flow._nonfinite import NonFinite, first_nonfinite
from carousel.flow._products import JacobianProduct, eigenvalues, jacobian_product
from carousel.flow._quantities import categories, pre_activations, quantity
from carousel.flow._spectrum import Spectrum, spectrum
from carousel.trace import Trace

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

    def jacobian_norms(self, norm: str = "spectral") -> JacobianNorms:
        """``||ds_T/ds_t||`` by lag, s = (h, c) where there is a c, in log10, exact at any size.

        Costs O(T B H^3); ``norm`` is "spectral" (the largest singular value) or "frobenius",
        which is faster.
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

    def horizon(self) -> Horizon:
        """The memory horizon in steps, with a 95 % interval from the batch and windows of time."""
        return self._horizon

    @cached_property
    def _horizon(self) -> Horizon:
        return horizon(self.trace)

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
    def notes(self) -> tuple[str, ...]:
        """The remarks, and the notes of all layers, each under its layer's name."""
        layers = self.layers.items()
        notes = tuple(f"{name}: {note}" for name, layer in layers for note in layer.notes)
        return self.remarks + notes

    def __repr__(self) -> str:
        return f"Flow({', '.join(map(repr, self.layers.values()))})"
