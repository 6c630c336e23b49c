"""Which calls of one backward pass continue one another, and the traces of them all.

A call continues an earlier one when its initial state is what that one left: known from the graph,
or, where the user detached it, from the values. Calls that continue one another form one timeline.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from carousel.trace._call import Call, Gradients, WeightCopy
from carousel.trace._join import Places, join_layer
from carousel.trace._recorded import recorded_layers
from carousel.trace._replay import LayerReplay, replay_calls
from carousel.trace._trace import Trace, certified

__all__ = ["traces_of"]

TAILS = 8  # how many open timelines a detached state is compared with


def traces_of(recorded: dict[Call, Gradients]) -> list[Trace]:
    """The traces of one backward pass, in the order of the modules' first calls."""
    calls = sorted((call for call in recorded), key=lambda call: call.serial)
    _share_equal_weights(calls)
    places = _replay_groups(calls, recorded)
    traces: list[Trace] = []
    for name in dict.fromkeys(call.name for call in calls):
        timelines = _timelines([call for call in calls if call.name == name])
        for number, timeline in enumerate(timelines, start=1):
            spec = timeline[0].spec
            stack = [
                join_layer(timeline, places, layer, direction)
                for layer in range(spec.layers)
                for direction in range(spec.directions)
            ]
            if len(timelines) > 1:
                stack = [replace(trace, name=f"{trace.name}#{number}") for trace in stack]
            traces += certified(stack)
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
    """All calls as they were heard, or replayed, those of one shape side by side.

    Returns:
        Where each call's part lies.
    """
    groups: dict[object, list[Call]] = {}
    heard: dict[Call, list[list[LayerReplay]]] = {}
    for call in calls:
        layers = recorded_layers(call, recorded[call])
        if layers is not None:
            heard[call] = layers
            groups[call] = [call]
            continue
        shape = call.layout.sequence(call.outputs["output"]).shape
        key = (call.name, call.spec, id(call.weights), call.arithmetic, shape)
        groups.setdefault(key, []).append(call)
    places: Places = {}
    for group in groups.values():
        replay = heard.get(group[0])
        if replay is None:
            replay = replay_calls(group, [recorded[call] for call in group])
        for position, call in enumerate(group):
            places[call] = (replay, position, len(group))
    return places


def _timelines(calls: list[Call]) -> list[list[Call]]:
    """Chain the calls of one module."""
    timelines: list[list[Call]] = []
    by_tail: dict[Call, list[Call]] = {}
    for call in calls:
        before = call.before if call.before in by_tail else None
        if before is None and call.before is None:
            tails = list(by_tail)[: -TAILS - 1 : -1]
            before = next((tail for tail in tails if _same_state(tail, call)), None)
        if before is None or not _joinable(before, call):
            timelines.append([call])
            by_tail[call] = timelines[-1]
            continue
        timeline = by_tail.pop(before)
        timeline.append(call)
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
