"""The quantities of one layer over time, as they were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow._misses import ByName, no_such_of_layer
from carousel.flow._quantities import categories, pre_activations, quantity
from carousel.flow._tiny import Tiny, tiny
from carousel.trace import Trace

__all__ = ["LayerQuantities"]


@dataclass(frozen=True, eq=False)
class LayerQuantities:
    """The quantities of one layer in one direction; time first, in the order of the input.

    ``d_h`` is the *total* gradient dL/dh_t: every way in which h_t reaches the loss, through later
    steps too. ``d_h_injected`` is the part that did not come through time. Shapes: T steps,
    B sequences, H units (P = H without projection).
    """

    trace: Trace

    if not TYPE_CHECKING:  # where it would make every name a known one

        def __getattr__(self, name: str) -> object:
            if name.startswith("_") or hasattr(type(self), name) or "trace" not in vars(self):
                return object.__getattribute__(self, name)
            known = ("trace", *(each for each in dir(type(self)) if not each.startswith("_")))
            raise AttributeError(no_such_of_layer(self.trace, known, name), name=name, obj=self)

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
    def dtype(self) -> torch.dtype:
        """Of the module's arithmetic; the quantities are in float32, or float64 for float64."""
        return self.trace.dtype

    @property
    def device(self) -> torch.device:
        """Where the quantities are: on the module's device."""
        return self.trace.x.device

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
    def lengths(self) -> Tensor:
        """Valid steps of each sequence [B] int64."""
        return self.trace.lengths

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

    @property
    def notes(self) -> tuple[str, ...]:
        """What altered the gradient, or limits what was seen, in sentences."""
        return self.trace.notes

    @property
    def certificate(self) -> float:
        """max |h recomputed - h of the module|, over all steps and, at the last, c too.

        Where the module's own h is infinite or NaN nothing is compared; ``flow.nonfinite`` tells.
        In a stack every layer has that of the layer that was met worst, relative to its limit:
        gradients have come through all of them.
        """
        return self.trace.certificate

    @property
    def certificate_limit(self) -> float:
        """What rounding can explain of the certificate."""
        return self.trace.certificate_limit

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
            CarouselError: of a cell that was measured as a function of which nothing more is known,
                and by the mapping, of a gate that it does not have.
        """
        if not self.trace.cell.derived:
            raise CarouselError(
                f"{self.name} was measured as a function (x_t, state) -> state, so its gates are "
                "not known. Measure torch.nn.RNN, LSTM or GRU, their *Cell modules called in a "
                "loop, or one of Carousel's layers, with carousel.measure to see them."
            )
        return ByName(self.trace.trajectory.gates, f"{self.name} ({self.kind})")

    @cached_property
    def pre_activations(self) -> Mapping[str, Tensor]:
        """The arguments of the activations, by the same names, each [T, B, H]."""
        return ByName(pre_activations(self.trace), f"{self.name} ({self.kind})")

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
