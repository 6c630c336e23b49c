"""The derivative of every step as a linear map of the whole state, s = (h, c) or s = h.

    J_t = ds_t/ds_{t-1}        push: q -> J_t q, forward in time        pull: v -> v J_t, backward

Whoever follows Jacobians through time goes through this one interface, whatever the cell: along a
trace of a known cell by its factors, written by hand, and for any other cell by autograd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from carousel.cells import (
    Linearisation,
    PullBack,
    StepMatrices,
    pull_back,
    push_forward,
    step_matrices,
)
from carousel.flow._autograd import StepGraph
from carousel.trace import Trace

__all__ = ["Tangent", "back_of", "tangent_of"]

BLOCK = 64  # steps whose factors are held at a time
MOST_NUMBERS = 2**18  # of the matrices that are held at a time: 2 MiB of float64, near the core


class Tangent(ABC):
    """The Jacobians J_t of one trace, in its order of steps: B sequences, S numbers of state.

    Where a call of the module begins with another state than the last one left, J_t says so: it is
    zero where the state was reset to zero, and NaN where it was changed in a way that is not known.
    """

    def __init__(self, trace: Trace, dtype: torch.dtype) -> None:
        h, c = trace.trajectory.h, trace.trajectory.c
        self.dtype, self.device = dtype, h.device
        self.steps, self.batch, self.outputs = h.shape
        self.size = self.outputs + (0 if c is None else c.shape[-1])
        factors = trace.handed_over.to(h.device, dtype)
        self.crossings = {
            t: factor
            for t, factor in zip(trace.boundaries, factors, strict=True)
            if not bool((factor == 1).all())
        }

    def push(self, t: int, q: Tensor) -> Tensor:
        """J_t q: columns q [B, S, k] before step t to those after it."""
        if t in self.crossings:
            q = q * self.crossings[t][:, None, None]
        return self._push(t, q)

    def pull(self, t: int, v: Tensor) -> Tensor:
        """v J_t: rows v [B, k, S] after step t to those before it."""
        v = self._pull(t, v)
        return v * self.crossings[t][:, None, None] if t in self.crossings else v

    def jacobian(self, t: int) -> Tensor:
        """J_t as a matrix, [B, S, S]."""
        found = self._jacobian(t)
        return found * self.crossings[t][:, None, None] if t in self.crossings else found

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """The parts of h and of c on the last axis."""
        has_c = self.size > self.outputs
        return rows[..., : self.outputs], rows[..., self.outputs :] if has_c else None

    @abstractmethod
    def _push(self, t: int, q: Tensor) -> Tensor: ...

    @abstractmethod
    def _pull(self, t: int, v: Tensor) -> Tensor: ...

    @abstractmethod
    def _jacobian(self, t: int) -> Tensor: ...


def tangent_of(
    trace: Trace, dtype: torch.dtype | None = None, *, truncated: bool = False
) -> Tangent:
    """The Jacobians along a trace.

    Args:
        trace: in whichever order of steps they are to be numbered in.
        dtype: of the vectors and factors; None: that of the trace.
        truncated: those that the truncated gradient of 1997 follows, instead of the state's own.
    """
    dtype = trace.trajectory.h.dtype if dtype is None else dtype
    return _ByHand(trace, dtype, truncated) if trace.cell.derived else _ByAutograd(trace, dtype)


def back_of(trace: Trace, linearisation: Linearisation | None) -> PullBack:
    """The way back over one step for vectors at h and at c, as ``cells.pull_back`` has it.

    Args:
        trace: in running order.
        linearisation: of its trajectory; None for a cell known as a function alone, which is
            followed by autograd, all vectors at once.
    """
    if linearisation is not None:
        return pull_back(linearisation)
    tangent = _ByAutograd(trace, trace.d_h.mantissa.dtype)

    def step(
        t: int, v_h: Tensor, v_c: Tensor | None, out_c: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if v_c is not None and out_c is not None:
            through_h = tangent.through_h(t, v_h.transpose(0, 1))
            out_c.copy_(v_c + through_h.transpose(0, 1))
        v = tangent.pull(t, _joined((v_h, v_c)).transpose(0, 1)).transpose(0, 1)
        return tangent.split(v)

    return step


class _ByHand(Tangent):
    """By the cell's factors, computed for a block of steps when one of them is asked for."""

    def __init__(self, trace: Trace, dtype: torch.dtype, truncated: bool) -> None:
        super().__init__(trace, dtype)
        self.cell, self.trajectory, self.truncated = trace.cell, trace.trajectory, truncated
        self.weights = trace.weights.map(lambda tensor: tensor.to(dtype))
        self.first = self.first_matrix = -1
        size = self.batch * self.size * self.outputs
        self.matrices_held = max(1, min(BLOCK, MOST_NUMBERS // size))

    def _push(self, t: int, q: Tensor) -> Tensor:
        # From about so many vectors on, forming J_t costs less than it saves.
        if q.shape[-1] >= 32:
            matrices, k = self._matrices(t)
            return matrices.push(k, q)
        k = self._enter(t)
        rows = q.permute(2, 0, 1)
        return _joined(self.push_step(k, *self.split(rows))).permute(1, 2, 0)

    def _pull(self, t: int, v: Tensor) -> Tensor:
        k = self._enter(t)
        v_h, v_c = self.split(v.transpose(0, 1))
        return _joined(self.pull_step(k, v_h, v_c)).transpose(0, 1)

    def _jacobian(self, t: int) -> Tensor:
        matrices, k = self._matrices(t)
        return matrices.full(k)

    def _enter(self, t: int) -> int:
        """Hold the factors of the block of step t; its place in the block."""
        first = t - t % BLOCK
        if first != self.first:
            self.factors = self._linearised(first, BLOCK)
            self.push_step, self.pull_step = push_forward(self.factors), pull_back(self.factors)
            self.first = first
        return t - first

    def _matrices(self, t: int) -> tuple[StepMatrices, int]:
        first = t - t % self.matrices_held
        if first != self.first_matrix:
            self.matrices = step_matrices(self._linearised(first, self.matrices_held))
            self.first_matrix = first
        return self.matrices, t - first

    def _linearised(self, first: int, steps: int) -> Linearisation:
        part = self.trajectory.map(lambda tensor: tensor[first : first + steps].to(self.dtype))
        return self.cell.linearise(part, self.weights, self.truncated)


class _ByAutograd(Tangent):
    """By autograd of one step at a time, at autograd's price."""

    def __init__(self, trace: Trace, dtype: torch.dtype) -> None:
        super().__init__(trace, dtype)
        self.trace = trace
        self.held: tuple[int, StepGraph] | None = None

    def _push(self, t: int, q: Tensor) -> Tensor:
        if 4 * q.shape[-1] > self.size:
            return self._jacobian(t) @ q
        return self._graph(t).push(q)

    def _pull(self, t: int, v: Tensor) -> Tensor:
        return self._graph(t).pull(v)

    def _jacobian(self, t: int) -> Tensor:
        eye = torch.eye(self.size, dtype=self.dtype, device=self.device)
        return self._graph(t).pull(eye.expand(self.batch, -1, -1))

    def through_h(self, t: int, v_h: Tensor) -> Tensor:
        """What rows v_h [B, k, P] at h_t are at c_t [B, k, H], of a state with a c."""
        found = self._graph(t).through_h(v_h)
        assert found is not None
        return found

    def _graph(self, t: int) -> StepGraph:
        if self.held is None or self.held[0] != t:
            self.held = t, StepGraph(self.trace, t)
        return self.held[1]


def _joined(vector: tuple[Tensor, Tensor | None]) -> Tensor:
    return vector[0] if vector[1] is None else torch.cat([vector[0], vector[1]], dim=-1)
