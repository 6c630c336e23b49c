"""What Carousel's own layers hand out of themselves, instead of a replay.

A run of these layers keeps its gates for backward and computes every dL/dh_t and dL/dc_t on its
way; whoever listens gets them as they are. Only numbers near the end of the dtype's range are
followed once more, on powers of two of their own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_packed_sequence

from carousel.cells import (
    Passage,
    Saved,
    Scaled,
    Totals,
    Trajectory,
    Weights,
    adjoint_along,
    largest,
)
from carousel.trace._call import Call, Gradients
from carousel.trace._replay import LayerReplay, gap_of_output, turner, with_rows_added

__all__ = ["Heard", "Listener", "recorded_layers"]


class Heard:
    """One run, and the last backward pass through it."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved
        self.passage: Passage | None = None
        self.pass_id: int | None = None

    def backward(self, passage: Passage) -> None:
        """Take what a backward pass brought and made."""
        # Under create_graph what came has a graph, and that leads back to this run.
        came = {
            name: None if gradient is None else gradient.detach()
            for name, gradient in vars(passage.arriving).items()
        }
        self.passage = replace(passage, arriving=replace(passage.arriving, **came))
        self.pass_id = torch._C._current_graph_task_id()


class Listener:
    """Hears the runs of one forward of a layer, in their order: layers, in each its directions."""

    def __init__(self) -> None:
        self.weights: list[Weights] = []  # those that the forward read
        self.runs: list[Heard] = []

    def begin(self, input: object, weights: list[Weights]) -> None:  # noqa: A002, ARG002 - LayerSink's
        """Take the weights that the forward read."""
        self.weights = weights

    def forward(self, saved: Saved) -> Heard | None:
        """Take a run that went forward."""
        if saved.keep_every > 1:  # it has kept no gates
            return None
        self.runs.append(Heard(saved))
        return self.runs[-1]


def recorded_layers(call: Call, gradients: Gradients) -> list[list[LayerReplay]] | None:
    """The layers of a call as they were heard.

    Returns:
        For each layer, its directions. None where one was not heard in this pass, or where what one
        of several sent down was too small or too large for its dtype: then all must be replayed.
    """
    each = call.spec.directions
    if len(call.runs) != call.spec.layers * each:
        return None
    if any(heard.pass_id != gradients.pass_id for heard in call.runs):
        return None
    with torch.no_grad(), torch.autocast(call.arithmetic.device.type, enabled=False):
        layers = [_Layer(call, gradients, index) for index in range(len(call.runs))]
        if not all(layer.in_range for layer in layers[each:]):
            return None
        found = [layer.replay() for layer in layers]
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
        # Copies, where the run's own tensors are ones that the user has too and may write into.
        own = self.saved.passed.output
        self.h = self._of_direction(call.outputs["output"]) if self.top else self._rows(own)
        self.weights = call.weights.layers[index].map(lambda weight: weight.to(self.h))
        self.steps, self.batch = self.h.shape[:2]
        self.lengths = call.layout.lengths(self.steps, self.batch).to(self.h.device)
        self.last = torch.zeros_like(self.lengths) if self.run.reverse else self.lengths - 1
        self.turn = turner(self.lengths, self.steps) if self.run.reverse else _as_it_is
        self.d_h = self._rows(self.passage.d_h)
        self.d_c = None if self.passage.d_c is None else self._rows(self.passage.d_c)

    @cached_property
    def in_range(self) -> bool:
        """Whether the totals are far from the ends of the range of the dtype that they came in."""
        both = self.d_h if self.d_c is None else torch.cat([self.d_h, self.d_c], -1)
        return _in_range(self.turn(both), self.passage.d_h.dtype)

    def replay(self) -> LayerReplay:
        """The layer, as if it had been replayed."""
        start = self._start()
        trajectory = self._trajectory(start)
        injected, outside = self._injected("h_n", self.passage.arriving.output)
        injected_c, outside_c = None, None
        if self.d_c is not None:
            injected_c, outside_c = self._injected("c_n", None)
        back = self._totals(trajectory, injected, injected_c)
        ends = (self.saved.passed.h_n, self.saved.passed.c_n)
        again = self.run.cell.unprojected(trajectory)
        if self.weights.w_hr is not None:
            again = again @ self.weights.w_hr.T
        return LayerReplay(
            x=self._x(),
            trajectory=trajectory,
            start=start,
            end=tuple(self._states(state) for state in ends if state is not None),
            certificate=gap_of_output(again, self.h).amax(0),
            d_h=back.d_h,
            d_c=back.d_c,
            d_h_injected=Scaled(outside),
            d_c_injected=None if outside_c is None else Scaled(outside_c),
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
            x = self.call.layout.sequence(self.call.x.to(self.run.x.dtype))
            return x.to(self.call.arithmetic.replay_dtype)
        return self._rows(self.run.x)

    def _start(self) -> tuple[Tensor, ...]:
        """The initial states, (h_0,) or (h_0, c_0), each [B, units]."""
        if not self.call.start:
            states = (self.run.h_0, self.run.c_0)
            return tuple(self._states(state) for state in states if state is not None)
        laid = [self.call.layout.state(state)[self.index] for state in self.call.start]
        dtype = self.call.arithmetic.replay_dtype
        return tuple(state.to(self.run.x.dtype).to(dtype) for state in laid)

    def _of_direction(self, output: Tensor) -> Tensor:
        """This direction's part of an output of the module, or of a gradient there."""
        rows = self.call.layout.sequence(output.detach()).to(self.call.arithmetic.replay_dtype)
        directions = self.call.spec.directions
        return rows.chunk(directions, -1)[self.index % directions]

    # Forward.

    def _trajectory(self, start: tuple[Tensor, ...]) -> Trajectory:
        passed = self.saved.passed
        stacked = self.h.unsqueeze(-2) if passed.gates is None else self._rows(passed.gates)
        c = None if passed.c is None else self._rows(passed.c)
        return Trajectory(
            h_prev=self._before(self.h, start[0]),
            c_prev=None if c is None else self._before(c, start[1]),
            h=self.h,
            c=c,
            gates=dict(zip(self.run.cell.gates, stacked.unbind(-2), strict=True)),
            recurrent_n=None if passed.q is None else self._rows(passed.q),
            stacked=stacked,
        )

    def _before(self, states: Tensor, start: Tensor) -> Tensor:
        """The state that each step started from [T, B, units]; 0 at padding."""
        before = self.turn(torch.cat([start.unsqueeze(0), self.turn(states)[:-1]]))
        if self.call.layout.packed is None:
            return before
        steps = torch.arange(self.steps, device=before.device).unsqueeze(1)
        return torch.where((steps < self.lengths).unsqueeze(-1), before, 0.0)

    # Backward.

    def _injected(self, end: str, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """What arrived at h or c from outside of the run, and the same less what later calls sent.

        Args:
            end: "h_n" or "c_n".
            rows: what arrived at the output, for h.
        """
        at_end, carried = getattr(self.passage.arriving, end), self.gradients.carried
        like = self.d_c if end == "c_n" else self.d_h
        assert like is not None
        found = torch.zeros_like(like) if rows is None else self._rows(rows)
        outside = found
        if end == "h_n" and self.top and "output" in carried:
            outside = outside - self._of_direction(carried["output"])
        if at_end is None and end not in carried:
            return found, outside
        at_end = torch.zeros_like(found[0]) if at_end is None else self._states(at_end)
        rest = at_end
        if end in carried:  # less first, so that nothing is lost beside a large part
            rest = at_end - self.call.layout.state(carried[end])[self.index].to(at_end)
        return (
            with_rows_added(found, at_end, self.last),
            with_rows_added(outside, rest, self.last),
        )

    def _totals(
        self, trajectory: Trajectory, injected: Tensor, injected_c: Tensor | None
    ) -> Totals:
        if self.in_range:
            d_c_0 = self.passage.d_c_0
            return Totals(
                d_h=Scaled(self.d_h),
                d_c=None if self.d_c is None else Scaled(self.d_c),
                d_h_start=Scaled(self._states(self.passage.d_h_0).unsqueeze(0)),
                d_c_start=None if d_c_0 is None else Scaled(self._states(d_c_0).unsqueeze(0)),
            )
        back = adjoint_along(
            self.run.cell,
            trajectory.map(self.turn),
            self.weights,
            Scaled(self.turn(injected)),
            None if injected_c is None else Scaled(self.turn(injected_c)),
            truncated=self.run.truncated,
        )
        return replace(
            back,
            d_h=back.d_h.map(self.turn),
            d_c=None if back.d_c is None else back.d_c.map(self.turn),
        )


def _in_range(totals: Tensor, dtype: torch.dtype) -> bool:
    """Whether all steps are far from the ends of a dtype's range, or zero as all after them.

    Args:
        totals: [T, B, units] in the order in which the layer ran.
        dtype: that they were computed in.
    """
    range_of = torch.finfo(dtype)
    sizes = largest(totals)
    safe = (sizes >= float(range_of.tiny) ** 0.5) & (sizes <= float(range_of.max) ** 0.5)
    nothing_yet = sizes.flip(0).cumsum(0).flip(0) == 0
    return bool((safe | nothing_yet).all())


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
