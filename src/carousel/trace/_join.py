"""The calls of one timeline, joined into the trace of each layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from carousel.cells import Scaled, Trajectory, Weights
from carousel.trace._call import Call
from carousel.trace._cuts import cut_notes, cut_states
from carousel.trace._replay import LayerReplay
from carousel.trace._timepath import REACH
from carousel.trace._trace import Trace

__all__ = ["Places", "join_layer"]

Thing = TypeVar("Thing")
Pick = Callable[[LayerReplay], Scaled | None]
Places = dict[Call, tuple[list[list[LayerReplay]], int, int]]  # replay of the group, place, size


def join_layer(timeline: list[Call], places: Places, layer: int, direction: int) -> Trace:
    """Join one layer and direction over the calls of a timeline."""
    first = timeline[0]
    runs = [list(run) for _, run in groupby(timeline, key=lambda call: id(places[call][0]))]
    parts = [_Run(run, places, layer, direction) for run in runs]
    last_steps = (
        torch.tensor([part.steps for part in parts for _ in part.calls]).cumsum(0) - 1
    ).tolist()
    boundaries = tuple(step + 1 for step in last_steps[:-1])
    handed_over = _handed_over(parts)

    def scaled(pick: Pick) -> Scaled | None:
        if pick(parts[0].replay) is None:
            return None
        return Scaled.cat([_there(pick(part.replay)).map(part.along_time) for part in parts], 0)

    def injected(state: int, pick: Pick, pick_total: Pick, pick_start: Pick) -> Scaled | None:
        found, total = scaled(pick), scaled(pick_total)
        if found is None or total is None:
            return None
        starts = [start for part in parts for start in part.call_by_call(pick_start)]
        return _without_unheard(found, total, timeline, starts, last_steps, state)

    trajectory = _join_trajectory(parts)
    return Trace(
        name=_layer_name(first, layer, direction),
        cell=first.spec.cell,
        direction="reverse" if direction else "forward",
        gradient="1997" if first.spec.truncated else "full",
        dtype=first.arithmetic.dtype,
        x=_join(parts, lambda replay: replay.x),
        lengths=_lengths(timeline).to(first.arithmetic.device),
        weights=_replay_weights(first, layer, direction),
        trajectory=trajectory,
        d_h=_there(scaled(lambda replay: replay.d_h)),
        d_c=scaled(lambda replay: replay.d_c),
        d_h_injected=_there(
            injected(
                0,
                lambda replay: replay.d_h_injected,
                lambda replay: replay.d_h,
                lambda replay: replay.d_h_start,
            )
        ),
        d_c_injected=injected(
            1,
            lambda replay: replay.d_c_injected,
            lambda replay: replay.d_c,
            lambda replay: replay.d_c_start,
        ),
        d_h_start=_there(parts[0].call_by_call(lambda replay: replay.d_h_start)[0]),
        d_c_start=next(iter(parts[0].call_by_call(lambda replay: replay.d_c_start)), None),
        certificate=float(torch.tensor([part.certificate() for part in parts]).amax()),
        certificate_limit=_rounding(trajectory, first.arithmetic.dtype),
        boundaries=boundaries,
        handed_over=handed_over,
        cut_states=cut_states(timeline, (0, *boundaries)),
        notes=_notes(timeline, boundaries, handed_over),
        unbatched=first.layout.unbatched,
        path=first.name,
    )


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
        split: Tensor = tensor.unflatten(1, (self.size, self.batch))
        if self.size > 1:
            split = split.index_select(1, self.positions)
        return split.transpose(0, 1).flatten(0, 1)

    def by_call(self, tensor: Tensor) -> Tensor:
        """[calls * B, ..] of the group -> [calls, B, ..] of this run."""
        split: Tensor = tensor.unflatten(0, (self.size, self.batch))
        return split.index_select(0, self.positions)

    def starts(self) -> list[Tensor]:
        """The module's initial states, each [calls, B, units]."""
        return [self.by_call(state) for state in self.replay.start]

    def ends(self) -> list[Tensor]:
        """The module's final states, each [calls, B, units]."""
        return [self.by_call(state) for state in self.replay.end]

    def certificate(self) -> float:
        """The largest gap in any of the calls."""
        return float(self.by_call(self.replay.certificate).max())

    def call_by_call(self, pick: Pick) -> list[Scaled]:
        """What the group has at the start of calls, for each call of this run: [1, B, units]."""
        found = pick(self.replay)
        if found is None:
            return []
        columns = [slice(p * self.batch, (p + 1) * self.batch) for p in self.positions.tolist()]
        return [found.map(lambda tensor, own=own: tensor[:, own]) for own in columns]  # type: ignore[misc]


def _join(parts: Sequence[_Run], pick: Callable[[LayerReplay], Tensor]) -> Tensor:
    pieces = [part.along_time(pick(part.replay)) for part in parts]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _join_trajectory(parts: Sequence[_Run]) -> Trajectory:
    one = parts[0].replay.trajectory

    def optional(pick: Callable[[Trajectory], Tensor | None]) -> Tensor | None:
        if pick(one) is None:
            return None
        return _join(parts, lambda replay: _there(pick(replay.trajectory)))

    def joined(gate: str) -> Tensor:
        return _join(parts, lambda replay: replay.trajectory.gates[gate])

    return Trajectory(
        h_prev=_join(parts, lambda replay: replay.trajectory.h_prev),
        c_prev=optional(lambda trajectory: trajectory.c_prev),
        h=_join(parts, lambda replay: replay.trajectory.h),
        c=optional(lambda trajectory: trajectory.c),
        gates={gate: joined(gate) for gate in one.gates},
        recurrent_n=optional(lambda trajectory: trajectory.recurrent_n),
    )


def _handed_over(parts: Sequence[_Run]) -> Tensor:
    """For each boundary and sequence: 1 the state came unchanged, 0 it was reset, NaN neither."""
    starts = [torch.cat(pieces)[1:] for pieces in zip(*(p.starts() for p in parts), strict=True)]
    ends = [torch.cat(pieces)[:-1] for pieces in zip(*(p.ends() for p in parts), strict=True)]
    same = torch.stack([(a == b).all(-1) for a, b in zip(starts, ends, strict=True)]).all(0)
    reset = torch.stack([(a == 0).all(-1) for a in starts]).all(0)
    unknown = torch.full(same.shape, torch.nan, device=same.device)
    return torch.where(same, 1.0, torch.where(reset, 0.0, unknown))


def _without_unheard(
    injected: Scaled,
    total: Scaled,
    timeline: list[Call],
    starts: list[Scaled],
    steps: list[int],
    state: int,
) -> Scaled:
    """Take out of the injected part what came over boundaries that could not be listened to.

    A state given as a keyword cannot be given an alias, so what was carried over it is taken from
    the adjoint of the later call. The two differ in rounding, and so below it count as equal.

    Args:
        injected: what arrived at the states of the timeline from outside its calls.
        total: the total gradients there.
        timeline: the calls.
        starts: the gradient at the initial state of each call, [1, B, units].
        steps: the last step of each call.
        state: 0 for h, 1 for c.
    """
    unheard = [k for k, call in enumerate(timeline) if k and state in call.unheard]
    if not unheard:
        return injected
    rows = [steps[k - 1] for k in unheard]
    rest = injected.map(lambda tensor: tensor[rows])
    rest = rest + Scaled.cat([starts[k].linear(torch.neg) for k in unheard], dim=0)
    size = total.map(lambda tensor: tensor[rows]).value().abs().amax(-1, keepdim=True)
    noise = 64 * torch.finfo(size.dtype).eps * size
    plain = torch.where(rest.value().abs() <= noise, 0.0, rest.value())
    value = injected.value().clone()
    value[rows] = plain
    return Scaled(value)


def _rounding(trajectory: Trajectory, dtype: torch.dtype) -> float:
    """What rounding can explain of a certificate, times the largest finite state (at least 1).

    4 roundings to the module's dtype and 32 to that of the replay, whose products add up many
    terms; with a cell state, which is scanned over T steps, sqrt(T) roundings more.
    """
    states = [state for state in (trajectory.h, trajectory.c) if state is not None]
    scale = max(1.0, *(_largest_finite(state) for state in states))
    roundings = 4 + (math.sqrt(len(trajectory.h)) if trajectory.c is not None else 0)
    replay_eps = torch.finfo(trajectory.h.dtype).eps
    return (roundings * torch.finfo(dtype).eps + 32 * replay_eps) * scale


def _largest_finite(state: Tensor) -> float:
    """The largest absolute value; of what is finite, where not all of it is."""
    largest = float(state.abs().amax())
    if math.isfinite(largest):
        return largest
    return float(torch.where(state.isfinite(), state.abs(), 0.0).amax())


def _notes(
    timeline: list[Call], boundaries: tuple[int, ...], handed_over: Tensor
) -> tuple[str, ...]:
    notes = cut_notes(timeline, (0, *boundaries))
    resets = int((handed_over == 0).sum())
    if resets:
        notes.append(f"The state was reset to zero between calls: {_times(resets)}.")
    changed = int(handed_over.isnan().sum())
    if changed:
        notes.append(
            "The state was changed between calls by operations outside the module: "
            f"{_times(changed)}. Jacobian products end there."
        )
    if any(call.altered for call in timeline):
        notes.append(
            "A hook of yours changed gradients on their way into the module; the flow holds what "
            "entered. What it changed counts as injected, but where all that came was carried."
        )
    if any(call.hooked for call in timeline[1:]):
        notes.append(
            "A hook of yours stands on the state between calls: what it makes of the gradient "
            "counts as carried, and so does what else came back to that state."
        )
    if any(call.twice for call in timeline):
        notes.append(
            "This pass went through gradients that were themselves differentiated (create_graph); "
            "what it sent through them into the module is missing: the totals are not exact."
        )
    if any(call.lost for call in timeline):
        notes.append(
            f"The state came through more than {REACH} operations, too many to follow: if it came "
            "from an earlier call of this module, what it carried back counts as injected there."
        )
    if any(call.by_keyword and call.paths for call in timeline):
        notes.append(
            "The state was given by keyword after other operations; if their result serves "
            "anything else too, that part counts as carried. Give it as the second argument."
        )
    first = timeline[0]
    if first.spec.truncated:
        notes.append(
            "The gradient is the truncated one of 1997: what leaves the cell through its gates "
            "goes no further back, so d_h and d_c are not the derivatives of the loss. Jacobian "
            "norms and the horizon are those of this way back."
        )
    if first.arithmetic.dtype not in (torch.float32, torch.float64):
        precision = str(first.arithmetic.dtype).removeprefix("torch.")
        notes.append(f"The module computed in {precision}; the replay is in float32.")
    return tuple(notes)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _layer_name(call: Call, layer: int, direction: int) -> str:
    if call.spec.is_cell:
        return call.name or "cell"
    suffix = call.spec.suffix(layer, direction)
    return f"{call.name}.{suffix}" if call.name else suffix


def _lengths(timeline: list[Call]) -> Tensor:
    lengths = [
        call.layout.lengths(*call.layout.sequence(call.outputs["output"]).shape[:2])
        for call in timeline
    ]
    return torch.stack(lengths).sum(0)


def _replay_weights(call: Call, layer: int, direction: int) -> Weights:
    weights = call.weights.layers[layer * call.spec.directions + direction]
    arithmetic = call.arithmetic
    return weights.map(lambda tensor: tensor.to(arithmetic.dtype).to(arithmetic.replay_dtype))


def _there(thing: Thing | None) -> Thing:
    assert thing is not None
    return thing
