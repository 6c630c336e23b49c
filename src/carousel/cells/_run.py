"""One run of one recurrence through time: what goes in, what comes out, what comes back.

A run is one layer in one direction. Its data lie in one of three layouts, and every sequence of
rows that belongs to it, the output, the gates and the gradients, lies as its input does:

    time first   [T, B, ..]
    batch first  [B, T, ..]
    packed       [N, ..] with batch_sizes [T]: the rows of step 0, of step 1, ..; the first
                 batch_sizes[t] sequences have a step t, so the sizes never increase

A run forward and a run backward are functions of what is defined here, whichever code computes
them: ``forward(run, keep) -> Passed`` and ``backward(run, passed, arriving, needs, totals) ->
Gradients``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from carousel.cells._cell import Cell, Weights

__all__ = [
    "INPUTS",
    "Arriving",
    "Gradients",
    "Passed",
    "Run",
    "Totalling",
    "norms_of",
    "with_first",
]

# What of the gradient at every step is asked for, beside the gradients of the inputs.
Totalling = Literal["", "full", "norms"]

# The inputs that can have a gradient, in the order of ``needs`` and of the fields of Gradients.
INPUTS = ("x", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr", "peephole", "h_0", "c_0")


@dataclass(frozen=True)
class Run:
    """What one layer computes in one direction, and on what."""

    cell: Cell
    weights: Weights
    x: Tensor  # [T, B, I], [B, T, I] or packed [N, I]; a view at most over steps
    h_0: Tensor  # [B, P]
    c_0: Tensor | None  # [B, H]; None for cells without c
    batch_sizes: Tensor | None = None  # [T] int64 on the CPU; None: not packed
    reverse: bool = False  # from each sequence's last step to its first
    batch_first: bool = False
    truncated: bool = False  # backward: errors leave the cell only along c

    @cached_property
    def sizes(self) -> list[int] | None:
        """How many sequences have step t, where the run is packed."""
        return None if self.batch_sizes is None else self.batch_sizes.tolist()

    @property
    def time(self) -> int:
        """The axis of the steps, where the run is not packed."""
        return 1 if self.batch_first else 0

    @property
    def steps(self) -> int:
        """T."""
        return self.x.shape[self.time] if self.sizes is None else len(self.sizes)

    @property
    def order(self) -> range:
        """The steps in the order in which they are taken."""
        return range(self.steps - 1, -1, -1) if self.reverse else range(self.steps)

    def split(self, rows: Tensor) -> Sequence[Tensor]:
        """The rows of each step."""
        return rows.unbind(self.time) if self.sizes is None else rows.split(self.sizes)

    def join(self, steps: list[Tensor]) -> Tensor:
        """The rows of all steps in the layout of x."""
        if self.sizes is not None:
            return torch.cat(steps)
        # torch.stack gives a view, and what an op puts out as a view cannot be changed in place.
        return torch.cat([step.unsqueeze(self.time) for step in steps], self.time)

    def before(self, rows: Tensor, start: Tensor) -> Tensor:
        """Row by row the state that each step started from: the step's neighbour, or ``start``."""
        if self.sizes is None:
            first = start.unsqueeze(self.time)
            if self.reverse:
                return torch.cat([rows.narrow(self.time, 1, self.steps - 1), first], self.time)
            return torch.cat([first, rows.narrow(self.time, 0, self.steps - 1)], self.time)
        taken, parts = self.split(rows), [start[:0]] * self.steps
        for t in self.order:
            parts[t] = start[: self.sizes[t]]
            start = with_first(start, taken[t])
        return torch.cat(parts)

    def part(self, start: int, stop: int, h: Tensor, c: Tensor | None) -> Run:
        """The run over some of the steps, from the states h [B, P], c [B, H] of all sequences."""
        if self.sizes is None or self.batch_sizes is None:
            return replace(self, x=self.rows(self.x, start, stop), h_0=h, c_0=c)
        running = self.sizes[start]
        return replace(
            self,
            x=self.rows(self.x, start, stop),
            h_0=h[:running],
            c_0=None if c is None else c[:running],
            batch_sizes=self.batch_sizes[start:stop],
        )

    def rows(self, rows: Tensor, start: int, stop: int) -> Tensor:
        """The rows of the steps from start to stop, as a view."""
        if self.sizes is None:
            return rows.narrow(self.time, start, stop - start)
        return rows[sum(self.sizes[:start]) : sum(self.sizes[:stop])]

    def join_parts(self, parts: list[Tensor]) -> Tensor:
        """The rows of all steps from the rows of some steps each, in the order of time."""
        return torch.cat(parts, self.time if self.sizes is None else 0)

    def to(self, dtype: torch.dtype) -> Run:
        """The same run in another dtype."""
        return replace(
            self,
            weights=self.weights.map(lambda weight: weight.to(dtype)),
            x=self.x.to(dtype),
            h_0=self.h_0.to(dtype),
            c_0=None if self.c_0 is None else self.c_0.to(dtype),
        )


@dataclass(frozen=True)
class Passed:
    """What a run forward gives; the rows in the layout of x."""

    output: Tensor  # [.., P]  h_t
    h_n: Tensor  # [B, P]  each sequence's state after its last step in the order of the run
    c_n: Tensor | None = None  # [B, H]
    # Kept for the run backward only.
    gates: Tensor | None = None  # [.., G, H]  activations in the order of the weights; none for RNN
    q: Tensor | None = None  # [.., H]  GRU: W_hn h_{t-1} + b_hn
    c: Tensor | None = None  # [.., H]

    def to(self, dtype: torch.dtype) -> Passed:
        """The same in another dtype."""
        return replace(self, **_mapped(self, lambda tensor: tensor.to(dtype)))


@dataclass(frozen=True)
class Arriving:
    """The gradients that arrive from outside. None: nothing does."""

    output: Tensor | None  # [.., P]
    h_n: Tensor | None  # [B, P]
    c_n: Tensor | None  # [B, H]

    def to(self, dtype: torch.dtype) -> Arriving:
        """The same in another dtype."""
        return replace(self, **_mapped(self, lambda tensor: tensor.to(dtype)))


@dataclass(frozen=True)
class Gradients:
    """What a run backward gives: each gradient where it was asked for, else None."""

    x: Tensor | None = None
    w_ih: Tensor | None = None
    w_hh: Tensor | None = None
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None
    peephole: Tensor | None = None
    h_0: Tensor | None = None
    c_0: Tensor | None = None
    # Asked for with ``totals="full"``, and h_0 and c_0 too; the rows in the layout of x.
    d_h: Tensor | None = None  # [.., P]  the total dL/dh_t
    d_c: Tensor | None = None  # [.., H]  the total dL/dc_t, with what reaches c_t through h_t
    d_a: Tensor | None = None  # [.., G, H]  on the pre-activations, where the input meets them
    # Asked for with ``totals="norms"``: the Euclidean norms of d_h and d_c over the units.
    norms: Tensor | None = None  # [.., 2] float64; the second is 0 for cells without c

    def to(self, dtype: torch.dtype) -> Gradients:
        """The same in another dtype."""
        return replace(self, **_mapped(self, lambda tensor: tensor.to(dtype)))


def norms_of(d_h: Tensor, d_c: Tensor | None) -> Tensor:
    """The Euclidean norms over the units, [.., 2] float64."""
    norms = [torch.linalg.vector_norm(d_h.double(), dim=-1)]
    norms.append(
        torch.zeros_like(norms[0])
        if d_c is None
        else torch.linalg.vector_norm(d_c.double(), dim=-1)
    )
    return torch.stack(norms, -1)


def _mapped(
    holder: Passed | Arriving | Gradients, function: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    return {name: function(value) for name, value in vars(holder).items() if value is not None}


def with_first(states: Tensor, first: Tensor) -> Tensor:
    """The states [B, ..] with those of the first few sequences replaced."""
    running = len(first)
    return first if running == len(states) else torch.cat([first, states[running:]])
