"""One step of any cell differentiated by autograd: J_t q and v J_t without writing J_t down.

v J_t: one backward pass for each row of v, all of them at once where the cell allows it
J_t q: g(v) = v J_t is linear in v, so its own derivative towards v, along q, is J_t q
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Steps
from carousel.trace import Trace

__all__ = ["CellSteps", "StepGraph"]

FEW = 2  # rows up to which one backward pass after another is faster than all at once


class StepGraph:
    """The graph of step t of a trace, from the state before it to the state after it."""

    def __init__(self, trace: Trace, t: int) -> None:
        before = (trace.trajectory.h_prev[t], *_there(trace.trajectory.c_prev, t))
        with torch.enable_grad():
            self.leaves = [part.detach().to(trace.dtype).requires_grad_() for part in before]
            # Copies, so that a cell may change its state in place as it may in a loop.
            state = tuple(leaf.clone() for leaf in self.leaves)
            self.after = trace.cell.step(trace.x[t], state, trace.weights)
        self.sizes = [part.shape[-1] for part in self.leaves]

    def pull(self, v: Tensor) -> Tensor:
        """v J_t, rows [B, k, S] in the dtype in which they come."""
        rows = v.transpose(0, 1).split(self.sizes, dim=-1)
        return (
            torch.cat(self._backward(self.after, self.leaves, rows), dim=-1)
            .to(v.dtype)
            .transpose(0, 1)
        )

    def push(self, q: Tensor) -> Tensor:
        """J_t q, columns [B, S, k] in the dtype in which they come.

        Where the cell cannot be differentiated twice, J_t is formed after all.
        """
        try:
            with torch.enable_grad():
                v = [torch.zeros_like(part, requires_grad=True) for part in self.after]
                g = self._gradients(self.after, self.leaves, v, create_graph=True)
                columns = [
                    self._along(g, v, self._like(g, column.split(self.sizes, dim=-1)))
                    for column in q.permute(2, 0, 1)
                ]
        except RuntimeError:
            eye = torch.eye(q.shape[1], dtype=q.dtype, device=q.device)
            return self.pull(eye.expand(q.shape[0], -1, -1)) @ q
        return torch.stack(columns, -1).to(q.dtype)

    def through_h(self, v_h: Tensor) -> Tensor | None:
        """What c_t receives through h_t, rows v_h [B, k, P] -> v_h dh_t/dc_t [B, k, H].

        It is there where h_t is computed from that very c_t. None for a state without c.
        """
        if len(self.after) == 1:
            return None
        h, c = self.after
        if not (h.requires_grad and c.requires_grad):
            return v_h.new_zeros(*v_h.shape[:2], c.shape[-1])
        (found,) = self._backward([h], [c], [v_h.transpose(0, 1)])
        return found.to(v_h.dtype).transpose(0, 1)

    def _along(self, g: Sequence[Tensor], v: Sequence[Tensor], column: Sequence[Tensor]) -> Tensor:
        """The derivative of g towards v along a column, [B, S].

        Raises:
            RuntimeError: g cannot be differentiated; it then does not hang on v at all, and taking
                that for a zero would be wrong without a word.
        """
        moving = [out.requires_grad for out in self.after]
        asked = [part for part, moves in zip(v, moving, strict=True) if moves]
        found = iter(torch.autograd.grad(list(g), asked, list(column), retain_graph=True))
        parts = [
            next(found) if moves else torch.zeros_like(part)
            for part, moves in zip(v, moving, strict=True)
        ]
        return torch.cat(parts, -1)

    def _backward(
        self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], rows: Sequence[Tensor]
    ) -> list[Tensor]:
        """Rows [k, B, P] (and [k, B, H]) at the outputs, back to the inputs."""
        rows = self._like(outputs, rows)
        if len(rows[0]) > FEW:
            try:
                with (
                    warnings.catch_warnings()
                ):  # torch remarks on operations without a batched rule
                    warnings.simplefilter("ignore")
                    return self._gradients(outputs, inputs, rows, batched=True)
            except (RuntimeError, NotImplementedError):
                pass  # an operation that torch cannot batch: one row after another
        each = [self._gradients(outputs, inputs, row) for row in zip(*rows, strict=True)]
        return [torch.stack(parts) for parts in zip(*each, strict=True)]

    def _like(self, outputs: Sequence[Tensor], rows: Sequence[Tensor]) -> list[Tensor]:
        return [row.to(out.dtype) for out, row in zip(outputs, rows, strict=True)]

    def _gradients(
        self,
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        gradients: Sequence[Tensor],
        *,
        batched: bool = False,
        create_graph: bool = False,
    ) -> list[Tensor]:
        """Of what depends on the inputs; zero where nothing does."""
        there = [k for k, out in enumerate(outputs) if out.requires_grad]
        if not there:
            lead = gradients[0].shape[:1] if batched else ()
            return [part.new_zeros(*lead, *part.shape) for part in inputs]
        found = torch.autograd.grad(
            [outputs[k] for k in there],
            list(inputs),
            [gradients[k] for k in there],
            retain_graph=True,
            create_graph=create_graph,
            is_grads_batched=batched,
            materialize_grads=True,
        )
        return list(found)


class CellSteps(Steps):
    """The way back through the steps of any cell, for the reverse scan."""

    block = 64

    def __init__(self, trace: Trace) -> None:
        trajectory = trace.trajectory
        self.trace, self.outputs = trace, trajectory.h.shape[-1]
        self.has_c = trajectory.c is not None
        self.units = (trajectory.h if trajectory.c is None else trajectory.c).shape[-1]
        self.gap = 0.0  # the largest difference of a state from that of the forward pass

    def advance(
        self,
        start: int,
        stop: int,
        v: tuple[Tensor, Tensor | None],
        into: tuple[Tensor, Tensor | None],
        d_h: Tensor,
        d_c: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """See Steps."""
        v_h, v_c = v
        for k in range(stop - start - 1, -1, -1):
            graph = StepGraph(self.trace, start + k)
            self._compare(graph, start + k)
            d_h[k] = v_h
            through_h = graph.through_h(v_h.unsqueeze(1))
            if d_c is not None and v_c is not None and through_h is not None:
                d_c[k] = v_c + through_h.squeeze(1)
            row = v_h if v_c is None else torch.cat([v_h, v_c], dim=-1)
            row = graph.pull(row.unsqueeze(1)).squeeze(1)
            v_h, v_c = row[..., : self.outputs], row[..., self.outputs :] if self.has_c else None
            if k > 0:
                v_h = v_h + into[0][k - 1]
                if v_c is not None and into[1] is not None:
                    v_c = v_c + into[1][k - 1]
        return v_h, v_c

    def d_a(self, d_h: Tensor, d_c: Tensor | None) -> Tensor:  # noqa: ARG002 - those of Steps
        """Refused: it leads to weights and inputs, and the cell's equations are not known."""
        raise CarouselError(
            f"{self.trace.cell.name} has no pre-activations: it is known as a function alone."
        )

    def _compare(self, graph: StepGraph, t: int) -> None:
        known = (self.trace.trajectory.h[t], *_there(self.trace.trajectory.c, t))
        for found, expected in zip(graph.after, known, strict=True):
            # A NaN on both sides is the same state, on one side it is not.
            same = (found == expected) | (found.isnan() & expected.isnan())
            gap = torch.where(same, 0.0, (found.detach() - expected).abs()).nan_to_num(torch.inf)
            self.gap = max(self.gap, float(gap.max()))


def _there(tensor: Tensor | None, t: int) -> tuple[Tensor, ...]:
    return () if tensor is None else (tensor[t],)
