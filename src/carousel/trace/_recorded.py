"""What Carousel's own layers hand out of themselves, instead of a replay.

A run of these layers keeps its gates for backward and computes every dL/dh_t and dL/dc_t on its
way; whoever listens gets them as they are. Only numbers near the end of the dtype's range are
followed once more, on powers of two of their own.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_packed_sequence

from carousel.cells import (
    Passage,
    Saved,
    Scaled,
    Totalling,
    Totals,
    Trajectory,
    adjoint_along,
    largest,
)
from carousel.trace._call import Call, Gradients
from carousel.trace._replay import LayerReplay, gap, turner, with_rows_added

__all__ = ["Heard", "Listener", "recorded_layers"]


class Heard:
    """One run, and the last backward pass through it."""

    wants: Totalling = "full"

    def __init__(self, saved: Saved) -> None:
        self.saved = saved
        self.passage: Passage | None = None
        self.pass_id: int | None = None

    def backward(self, passage: Passage) -> None:
        """Take what a backward pass brought and made."""
        self.passage = passage
        self.pass_id = torch._C._current_graph_task_id()

    def norms(self, norms: Tensor) -> None:
        """Take norms, which nobody has asked for."""
        raise AssertionError("the totals were asked for")


class Listener:
    """Hears the runs of one forward of a layer, in their order: layers, in each its directions."""

    def __init__(self) -> None:
        self.runs: list[Heard] = []

    def forward(self, saved: Saved) -> Heard:
        """Take a run that went forward."""
        self.runs.append(Heard(saved))
        return self.runs[-1]


def recorded_layers(call: Call, gradients: Gradients) -> list[list[LayerReplay]] | None:
    """The layers of a call as they were heard; None where one was not, in this pass."""
    if len(call.runs) != call.spec.layers * call.spec.directions:
        return None
    if any(heard.pass_id != gradients.pass_id for heard in call.runs):
        return None
    with torch.no_grad(), torch.autocast(call.arithmetic.device.type, enabled=False):
        found = [_Layer(call, gradients, index).replay() for index in range(len(call.runs))]
    each = call.spec.directions
    return [found[start : start + each] for start in range(0, len(found), each)]


class _Layer:
    """One run, laid out as the traces are: time first, in the user's order, padding behind."""

    def __init__(self, call: Call, gradients: Gradients, index: int) -> None:
        self.call, self.gradients, self.index = call, gradients, index
        heard = call.runs[index]
        assert heard.passage is not None
        self.saved, self.passage = heard.saved, heard.passage
        self.run = heard.saved.run
        self.top = index // call.spec.directions == call.spec.layers - 1
        h = self._rows(self.saved.passed.output)
        self.steps, self.batch = h.shape[:2]
        self.lengths = call.layout.lengths(self.steps, self.batch).to(h.device)
        self.h = self._of_direction(call.outputs["output"]) if self.top else h
        self.last = torch.zeros_like(self.lengths) if self.run.reverse else self.lengths - 1

    def replay(self) -> LayerReplay:
        """The layer, as if it had been replayed."""
        trajectory = self._trajectory()
        injected = self._injected(self.passage.arriving.output, "h_n")
        assert injected is not None
        injected_c = self._injected(None, "c_n")
        back = self._totals(trajectory, injected, injected_c)
        starts = (self.run.h_0, self.run.c_0)
        ends = (self.saved.passed.h_n, self.saved.passed.c_n)
        again = self.run.cell.unprojected(trajectory)
        if self.run.weights.w_hr is not None:
            again = again @ self.run.weights.w_hr.to(again).T
        return LayerReplay(
            x=self._x(),
            trajectory=trajectory,
            start=tuple(self._states(state) for state in starts if state is not None),
            end=tuple(self._states(state) for state in ends if state is not None),
            certificate=gap(again, self.h).amax(0),
            d_h=back.d_h,
            d_c=back.d_c,
            d_h_injected=Scaled(self._outside(injected, "h_n")),
            d_c_injected=None if injected_c is None else Scaled(self._outside(injected_c, "c_n")),
            d_h_start=back.d_h_start,
            d_c_start=back.d_c_start,
        )

    # Layout.

    def _rows(self, rows: Tensor) -> Tensor:
        """Rows of the run as [T, B, ..]."""
        rows = rows.detach().to(self.call.arithmetic.replay_dtype)
        packed = self.call.layout.packed
        if packed is not None:
            return pad_packed_sequence(packed._replace(data=rows))[0]
        return rows.transpose(0, 1) if self.run.batch_first else rows

    def _states(self, states: Tensor) -> Tensor:
        """States of the run, [B, ..], in the user's order."""
        states = states.detach().to(self.call.arithmetic.replay_dtype)
        packed = self.call.layout.packed
        if packed is None or packed.unsorted_indices is None:
            return states
        return states.index_select(0, packed.unsorted_indices)

    def _x(self) -> Tensor:
        if self.index < self.call.spec.directions:
            x = self.call.layout.sequence(self.call.x)  # a copy, which nobody can have changed
            return x.to(self.call.arithmetic.replay_dtype)
        return self._rows(self.run.x)

    def _of_direction(self, output: Tensor) -> Tensor:
        """This direction's part of an output of the module, or of a gradient there."""
        rows = self.call.layout.sequence(output.detach()).to(self.call.arithmetic.replay_dtype)
        directions = self.call.spec.directions
        return rows.chunk(directions, -1)[self.index % directions]

    # Forward.

    def _trajectory(self) -> Trajectory:
        run, passed, gates = self.run, self.saved.passed, self.run.cell.gates
        stacked = self.h.unsqueeze(-2) if passed.gates is None else self._rows(passed.gates)
        c, c_prev = passed.c, None
        if c is not None and run.c_0 is not None:
            c_prev = self._rows(run.before(c, run.c_0))
        return Trajectory(
            h_prev=self._rows(run.before(passed.output, run.h_0)),
            c_prev=c_prev,
            h=self.h,
            c=None if c is None else self._rows(c),
            gates=dict(zip(gates, stacked.unbind(-2), strict=True)),
            recurrent_n=None if passed.q is None else self._rows(passed.q),
            stacked=stacked,
        )

    # Backward.

    def _injected(self, rows: Tensor | None, end: str) -> Tensor | None:
        """What arrived from outside of the run, at its steps and at its end."""
        at_end = getattr(self.passage.arriving, end)
        if end == "c_n":
            if at_end is None or self.saved.passed.c is None:
                return None
            found = self.h.new_zeros(*self.h.shape[:2], at_end.shape[-1])
        else:
            found = torch.zeros_like(self.h) if rows is None else self._rows(rows)
        if at_end is None:
            return found
        return with_rows_added(found, self._states(at_end), self.last)

    def _outside(self, injected: Tensor, end: str) -> Tensor:
        """The same without what later calls sent back."""
        carried = self.gradients.carried
        if end == "h_n" and self.top and "output" in carried:
            injected = injected - self._of_direction(carried["output"])
        if end in carried:
            sent = self.call.layout.state(carried[end])[self.index].to(injected)
            injected = with_rows_added(injected, -sent, self.last)
        return injected

    def _totals(
        self, trajectory: Trajectory, injected: Tensor, injected_c: Tensor | None
    ) -> Totals:
        passage = self.passage
        d_h, d_c = self._rows(passage.d_h), passage.d_c
        d_c = None if d_c is None else self._rows(d_c)
        turn = turner(self.lengths, self.steps) if self.run.reverse else _as_it_is
        if _in_range(turn(d_h if d_c is None else torch.cat([d_h, d_c], -1))):
            d_c_0 = passage.d_c_0
            return Totals(
                d_h=Scaled(d_h),
                d_c=None if d_c is None else Scaled(d_c),
                d_h_start=Scaled(self._states(passage.d_h_0).unsqueeze(0)),
                d_c_start=None if d_c_0 is None else Scaled(self._states(d_c_0).unsqueeze(0)),
            )
        back = adjoint_along(
            self.run.cell,
            trajectory.map(turn),
            self.run.weights.map(lambda weight: weight.detach().to(self.h)),
            Scaled(turn(injected)),
            None if injected_c is None else Scaled(turn(injected_c)),
            truncated=self.run.truncated,
        )
        return replace(
            back,
            d_h=back.d_h.map(turn),
            d_c=None if back.d_c is None else back.d_c.map(turn),
        )


def _in_range(totals: Tensor) -> bool:
    """Whether all steps are far from the ends of the dtype's range, or zero as all after them.

    Args:
        totals: [T, B, units] in the order in which the layer ran.
    """
    range_of = torch.finfo(totals.dtype)
    sizes = largest(totals)
    safe = (sizes >= float(range_of.tiny) ** 0.5) & (sizes <= float(range_of.max) ** 0.5)
    nothing_yet = sizes.flip(0).cumsum(0).flip(0) == 0
    return bool((safe | nothing_yet).all())


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
