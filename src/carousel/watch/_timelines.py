"""From the calls of one backward pass to traces: which calls continue one another, and joined.

A call continues an earlier one when its initial state is what that one left: known from the graph,
or, where the user detached it, from the values. Calls that continue one another form one timeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from carousel.cells import Scaled, Trajectory, Weights
from carousel.watch._call import Call, Gradients, WeightCopy
from carousel.watch._replay import LayerReplay, replay_calls
from carousel.watch._trace import Trace

__all__ = ["traces_of"]

TAILS = 8  # how many open timelines a detached state is compared with

Thing = TypeVar("Thing")
Places = dict[Call, tuple[list[list[LayerReplay]], int, int]]  # replay of the group, place, size


@dataclass(eq=False)
class _Timeline:
    """Calls in the order in which they continue one another."""

    calls: list[Call]


def traces_of(recorded: dict[Call, Gradients]) -> list[Trace]:
    """The traces of one backward pass, in the order of the modules' first calls."""
    calls = sorted((call for call in recorded), key=lambda call: call.serial)
    _share_equal_weights(calls)
    places = _replay_groups(calls, recorded)
    traces = []
    names = list(dict.fromkeys(call.name for call in calls))
    for name in names:
        timelines = _timelines([call for call in calls if call.name == name])
        spec = timelines[0].calls[0].spec
        for layer in range(spec.layers):
            for direction in range(spec.directions):
                for number, timeline in enumerate(timelines, start=1):
                    trace = _trace(timeline, places, layer, direction)
                    if len(timelines) > 1:
                        trace = replace(trace, name=f"{trace.name}#{number}")
                    traces.append(trace)
    return traces


def _share_equal_weights(calls: list[Call]) -> None:
    """Let calls whose weights hold the same numbers refer to one copy."""
    copies: dict[str, list[WeightCopy]] = {}
    for call in calls:
        known = copies.setdefault(call.name, [])
        same = next((copy for copy in known if _equal_weights(copy, call.weights)), None)
        if same is None:
            known.append(call.weights)
        else:
            call.weights = same


def _equal_weights(one: WeightCopy, other: WeightCopy) -> bool:
    if one is other:
        return True
    return all(
        torch.equal(a, b)
        for layer, layer_other in zip(one.layers, other.layers, strict=True)
        for a, b in zip(layer.tensors(), layer_other.tensors(), strict=True)
    )


def _replay_groups(calls: list[Call], recorded: dict[Call, Gradients]) -> Places:
    """Replay all calls, those of one shape side by side; where each one's part lies."""
    groups: dict[object, list[Call]] = {}
    for call in calls:
        shape = call.layout.sequence(call.outputs["output"]).shape
        key = (call.name, call.spec, id(call.weights), call.arithmetic, shape)
        groups.setdefault(key, []).append(call)
    places: Places = {}
    for group in groups.values():
        replay = replay_calls(group, [recorded[call] for call in group])
        for position, call in enumerate(group):
            places[call] = (replay, position, len(group))
    return places


def _timelines(calls: list[Call]) -> list[_Timeline]:
    """Chain the calls of one module."""
    timelines: list[_Timeline] = []
    by_tail: dict[Call, _Timeline] = {}
    for call in calls:
        before = call.before if call.before in by_tail else None
        if before is None and call.before is None:
            tails = list(by_tail)[: -TAILS - 1 : -1]
            before = next((tail for tail in tails if _same_state(tail, call)), None)
        if before is None or not _joinable(before, call):
            timelines.append(_Timeline([call]))
            by_tail[call] = timelines[-1]
            continue
        timeline = by_tail.pop(before)
        timeline.calls.append(call)
        by_tail[call] = timeline
    return timelines


def _joinable(before: Call, call: Call) -> bool:
    """One direction, no padding, the same batch and weights: else a joined time has no meaning."""
    shapes = [each.layout.sequence(each.outputs["output"]).shape for each in (before, call)]
    padded = any(
        bool((each.layout.lengths(*shape[:2]) < shape[0]).any())
        for each, shape in zip((before, call), shapes, strict=True)
        if each.layout.packed is not None
    )
    return (
        call.spec.directions == 1
        and not padded
        and before.spec == call.spec
        and before.arithmetic == call.arithmetic
        and shapes[0][1] == shapes[1][1]
        and before.weights is call.weights
    )


def _same_state(before: Call, call: Call) -> bool:
    """Whether some sequence starts exactly where the earlier call left it, away from zero."""
    if not call.start:
        return False
    ends = [tensor for name, tensor in before.outputs.items() if name != "output"]
    if call.spec.is_cell:
        ends = [before.outputs["output"], *ends]
    starts = [call.layout.state(state) for state in call.start]
    ends = [before.layout.state(state) for state in ends]
    if any(a.shape != b.shape for a, b in zip(starts, ends, strict=True)):
        return False
    same = torch.stack([(a == b).all(-1).all(0) for a, b in zip(starts, ends, strict=True)]).all(0)
    moved = torch.stack([(a != 0).any(-1).any(0) for a in starts]).any(0)
    return bool((same & moved).any())


def _trace(timeline: _Timeline, places: Places, layer: int, direction: int) -> Trace:
    """Join one layer and direction over the calls of a timeline."""
    first = timeline.calls[0]
    runs = [list(run) for _, run in groupby(timeline.calls, key=lambda call: id(places[call][0]))]
    parts = [_Run(run, places, layer, direction) for run in runs]
    steps = [part.steps for part in parts for _ in part.calls]
    boundaries = tuple(int(t) for t in torch.tensor(steps).cumsum(0)[:-1].tolist())
    batch = parts[0].batch
    device = first.arithmetic.device

    start = [torch.cat(pieces) for pieces in zip(*(part.starts() for part in parts), strict=True)]
    end = [torch.cat(pieces) for pieces in zip(*(part.ends() for part in parts), strict=True)]
    handed_over = _handed_over([state[1:] for state in start], [state[:-1] for state in end])
    carries_c = first.spec.cell.has_c

    trace = Trace(
        name=_layer_name(first, layer, direction),
        cell=first.spec.cell,
        direction="reverse" if direction else "forward",
        dtype=first.arithmetic.dtype,
        x=_join(parts, lambda replay: replay.x),
        lengths=_lengths(timeline).to(device),
        weights=_replay_weights(first, layer, direction),
        trajectory=_join_trajectory(parts),
        d_h=_join_scaled(parts, lambda replay: replay.d_h),
        d_c=_join_scaled(parts, lambda replay: _there(replay.d_c)) if carries_c else None,
        d_h_injected=_join_scaled(parts, lambda replay: replay.d_h_injected),
        d_c_injected=(
            _join_scaled(parts, lambda replay: _there(replay.d_c_injected)) if carries_c else None
        ),
        d_h_start=parts[0].only(lambda replay: replay.d_h_start, 0),
        d_c_start=parts[0].only(lambda replay: _there(replay.d_c_start), 0) if carries_c else None,
        certificate=max(part.certificate() for part in parts),
        boundaries=boundaries,
        handed_over=handed_over.reshape(len(boundaries), batch),
        notes=_notes(timeline, boundaries, handed_over),
    )
    return _without_unheard(trace, timeline, parts)


class _Run:
    """Calls of a timeline that follow one another and were replayed in one group."""

    def __init__(self, calls: list[Call], places: Places, layer: int, direction: int) -> None:
        replays, _, self.size = places[calls[0]]
        self.calls = calls
        self.replay = replays[layer][direction]
        self.positions = torch.tensor(
            [places[call][1] for call in calls], device=self.replay.x.device
        )
        self.steps = self.replay.x.shape[0]
        self.batch = self.replay.x.shape[1] // self.size

    def along_time(self, tensor: Tensor) -> Tensor:
        """[T, calls * B, ..] of the group -> [calls * T, B, ..] of this run."""
        split = tensor.unflatten(1, (self.size, self.batch))
        if self.size > 1:
            split = split.index_select(1, self.positions)
        return split.transpose(0, 1).flatten(0, 1)

    def by_call(self, tensor: Tensor) -> Tensor:
        """[calls * B, ..] of the group -> [calls, B, ..] of this run."""
        return tensor.unflatten(0, (self.size, self.batch)).index_select(0, self.positions)

    def starts(self) -> list[Tensor]:
        """The module's initial states, each [calls, B, units]."""
        return [self.by_call(state) for state in self.replay.start]

    def ends(self) -> list[Tensor]:
        """The module's final states, each [calls, B, units]."""
        return [self.by_call(state) for state in self.replay.end]

    def certificate(self) -> float:
        """The largest gap in any of the calls."""
        return float(self.by_call(self.replay.certificate).max())

    def only(self, pick: Callable[[LayerReplay], Scaled], call: int) -> Scaled:
        """A [1, calls * B, units] quantity of the replay for one call of this run, [1, B, units]."""
        place = int(self.positions[call])
        columns = slice(place * self.batch, (place + 1) * self.batch)
        return pick(self.replay).map(lambda tensor: tensor[:, columns])


def _join(parts: Sequence[_Run], pick: Callable[[LayerReplay], Tensor]) -> Tensor:
    pieces = [part.along_time(pick(part.replay)) for part in parts]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _join_scaled(parts: Sequence[_Run], pick: Callable[[LayerReplay], Scaled]) -> Scaled:
    return Scaled.cat([pick(part.replay).map(part.along_time) for part in parts], dim=0)


def _join_trajectory(parts: Sequence[_Run]) -> Trajectory:
    one = parts[0].replay.trajectory

    def optional(pick: Callable[[Trajectory], Tensor | None]) -> Tensor | None:
        if pick(one) is None:
            return None
        return _join(parts, lambda replay: _there(pick(replay.trajectory)))

    return Trajectory(
        h_prev=_join(parts, lambda replay: replay.trajectory.h_prev),
        c_prev=optional(lambda trajectory: trajectory.c_prev),
        h=_join(parts, lambda replay: replay.trajectory.h),
        c=optional(lambda trajectory: trajectory.c),
        gates={
            gate: _join(parts, lambda replay, gate=gate: replay.trajectory.gates[gate])
            for gate in one.gates
        },
        pre_activations={
            gate: _join(parts, lambda replay, gate=gate: replay.trajectory.pre_activations[gate])
            for gate in one.pre_activations
        },
        recurrent_n=optional(lambda trajectory: trajectory.recurrent_n),
    )


def _handed_over(starts: list[Tensor], ends: list[Tensor]) -> Tensor:
    """For each boundary and sequence: 1 the state came unchanged, 0 it was reset, NaN neither."""
    same = torch.stack([(a == b).all(-1) for a, b in zip(starts, ends, strict=True)]).all(0)
    reset = torch.stack([(a == 0).all(-1) for a in starts]).all(0)
    unknown = torch.full(same.shape, torch.nan, device=same.device)
    return torch.where(same, 1.0, torch.where(reset, 0.0, unknown))


def _without_unheard(trace: Trace, timeline: _Timeline, parts: list[_Run]) -> Trace:
    """Take out of the injected part what came over boundaries that could not be listened to.

    A state given as a keyword cannot be given an alias, so what was carried over it is taken from
    the adjoint of the later call. The two differ in rounding, and so below it count as equal.
    """
    places = [(part, position) for part in parts for position in range(len(part.calls))]
    injected = {"d_h_injected": trace.d_h_injected, "d_c_injected": trace.d_c_injected}
    totals = {"d_h_injected": trace.d_h, "d_c_injected": trace.d_c}
    picks: dict[str, Callable[[LayerReplay], Scaled]] = {
        "d_h_injected": lambda replay: replay.d_h_start,
        "d_c_injected": lambda replay: _there(replay.d_c_start),
    }
    for boundary, (call, (part, position)) in zip(
        trace.boundaries, list(zip(timeline.calls, places, strict=True))[1:], strict=True
    ):
        if not call.attached or call.paths:
            continue
        for name, quantity in injected.items():
            total = totals[name]
            if quantity is None or total is None:
                continue
            row = quantity.map(lambda tensor: tensor[boundary - 1 : boundary])  # noqa: B023
            rest = row + part.only(picks[name], position).linear(torch.neg)
            bound = total.map(lambda tensor: tensor[boundary - 1 : boundary]).value()  # noqa: B023
            noise = 64 * torch.finfo(bound.dtype).eps * bound.abs().amax(-1, keepdim=True)
            plain = torch.where(rest.value().abs() <= noise, 0.0, rest.value())
            parts_of = [
                quantity.map(lambda tensor: tensor[: boundary - 1]),  # noqa: B023
                Scaled(plain),
                quantity.map(lambda tensor: tensor[boundary:]),  # noqa: B023
            ]
            injected[name] = Scaled.cat(parts_of, dim=0)
    return replace(trace, **injected)


def _notes(
    timeline: _Timeline, boundaries: tuple[int, ...], handed_over: Tensor
) -> tuple[str, ...]:
    notes = []
    cut = [
        step
        for step, call in zip(boundaries, timeline.calls[1:], strict=True)
        if not call.attached
    ]
    if cut:
        notes.append(
            f"The state was detached before step {_listed(cut)}: no gradient crosses there."
        )
    resets = int((handed_over == 0).sum())
    if resets:
        notes.append(f"The state was reset to zero {resets} times between calls.")
    changed = int(handed_over.isnan().sum())
    if changed:
        notes.append(
            f"The state was changed between calls {changed} times, by operations outside the "
            "module: Jacobian products end there."
        )
    first = timeline.calls[0]
    if first.arithmetic.dtype not in (torch.float32, torch.float64):
        precision = str(first.arithmetic.dtype).removeprefix("torch.")
        notes.append(f"The module computed in {precision}; the replay is in float32.")
    return tuple(notes)


def _listed(steps: list[int]) -> str:
    shown = ", ".join(str(step) for step in steps[:5])
    return shown if len(steps) <= 5 else f"{shown} and {len(steps) - 5} more"


def _layer_name(call: Call, layer: int, direction: int) -> str:
    if call.spec.is_cell:
        return call.name or "cell"
    suffix = call.spec.suffix(layer, direction)
    return f"{call.name}.{suffix}" if call.name else suffix


def _lengths(timeline: _Timeline) -> Tensor:
    lengths = [
        call.layout.lengths(*call.layout.sequence(call.outputs["output"]).shape[:2])
        for call in timeline.calls
    ]
    return torch.stack(lengths).sum(0)


def _replay_weights(call: Call, layer: int, direction: int) -> Weights:
    weights = call.weights.layers[layer * call.spec.directions + direction]
    arithmetic = call.arithmetic
    return weights.map(lambda tensor: tensor.to(arithmetic.dtype).to(arithmetic.replay_dtype))


def _there(thing: Thing | None) -> Thing:
    assert thing is not None
    return thing
