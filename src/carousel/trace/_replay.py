"""From recorded calls to the whole inside of every layer: states, gates, total gradients.

The output of a layer holds every h_{t-1}, so one product gives all gates; c is an elementwise
scan; one reverse scan, fed by what arrived at the outputs, gives (d_h, d_c). A stack is replayed
from the lowest layer up and then followed back from the top layer down. Calls of the same shape
are replayed side by side as one batch: what passes between them is known, since it was heard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from carousel.cells import (
    Scaled,
    Trajectory,
    Weights,
    adjoint_along,
    largest,
    native_replay,
)
from carousel.trace._call import Call, Gradients
from carousel.trace._layerwise import masks_again, zero_states
from carousel.trace._modules import run_layer

__all__ = ["LayerReplay", "gap_of_output", "replay_calls", "turner", "with_rows_added"]


@dataclass(frozen=True)
class LayerReplay:
    """One layer in one direction for N = calls * B sequences, in the order of the input."""

    x: Tensor  # [T, N, I]
    trajectory: Trajectory
    start: tuple[Tensor, ...]  # (h_0,) or (h_0, c_0), each [N, units], of the module
    end: tuple[Tensor, ...]  # (h_n,) or (h_n, c_n), each [N, units], of the module
    certificate: Tensor  # [N]
    d_h: Scaled
    d_c: Scaled | None
    d_h_injected: Scaled
    d_c_injected: Scaled | None
    d_h_start: Scaled
    d_c_start: Scaled | None


@dataclass(frozen=True)
class _Inputs:
    """The recorded calls stacked along the batch, time first, in the precision of the replay."""

    x: Tensor  # [T, N, I]
    lengths: Tensor  # [N] on the CPU
    start: list[Tensor]  # each [layers * directions, N, units]
    output: Tensor  # [T, N, D*P]
    ends: list[Tensor]  # each [layers * directions, N, units]
    arrived: dict[str, Tensor]  # gradients at output and, where any came, at h_n and c_n
    outside: dict[str, Tensor]  # the same without what later calls sent back
    masks: list[Tensor]


def replay_calls(calls: list[Call], gradients: list[Gradients]) -> list[list[LayerReplay]]:
    """Replay calls of one module that agree in shape, options and weights.

    Args:
        calls: of one module, equal in all but their numbers.
        gradients: what came back to each.

    Returns:
        For each layer, its directions.
    """
    first = calls[0]
    with torch.no_grad(), torch.autocast(first.arithmetic.device.type, enabled=False):
        inputs = _stack(calls, gradients)
        weights = [
            w.map(lambda tensor: tensor.to(first.arithmetic.dtype).to(inputs.x.dtype))
            for w in first.weights.layers
        ]
        layers, y = [], inputs.x
        for layer in range(first.spec.layers):
            forward, y = _replay_layer(first, inputs, weights, layer, y)
            layers.append(forward)
        return _follow_back(first, inputs, layers)


def _replay_layer(
    call: Call, inputs: _Inputs, weights: list[Weights], layer: int, x: Tensor
) -> tuple[list[_Forward], Tensor]:
    """All directions of one layer, and what enters the next one."""
    spec = call.spec
    place = slice(layer * spec.directions, (layer + 1) * spec.directions)
    top = layer == spec.layers - 1
    y = inputs.output if top else _inner_output(call, inputs, place, x)
    forward = [
        _replay_direction(
            call, inputs, weights[index], index, x, part, reverse=index % spec.directions == 1
        )
        for index, part in zip(
            range(place.start, place.stop), y.chunk(spec.directions, dim=-1), strict=True
        )
    ]
    if not top and inputs.masks:
        y = y * inputs.masks[layer]
    return forward, y


def _inner_output(call: Call, inputs: _Inputs, place: slice, x: Tensor) -> Tensor:
    """What a layer below the top put out, from torch's own kernel in the module's precision."""
    dtype = call.x.dtype
    start = tuple(state[place].to(dtype) for state in inputs.start)
    # With gradients enabled, as in the module's own forward: without, oneDNN takes another kernel
    # for inference, whose last bits differ. Nothing here requires a gradient.
    with (
        torch.enable_grad(),
        torch.autocast(
            call.arithmetic.device.type, call.arithmetic.dtype, enabled=call.arithmetic.autocast
        ),
    ):
        y = run_layer(call.spec, call.weights.layers[place], x.to(dtype), start, inputs.lengths)[0]
    return y.to(inputs.x.dtype)


@dataclass(frozen=True)
class _Forward:
    """One direction after the replay, in the order in which it runs."""

    turn: Callable[[Tensor], Tensor]  # between the input's order and the running order
    x: Tensor
    trajectory: Trajectory
    weights: Weights
    start: tuple[Tensor, ...]
    end: tuple[Tensor, ...]
    certificate: Tensor


def _replay_direction(
    call: Call,
    inputs: _Inputs,
    weights: Weights,
    index: int,
    x: Tensor,
    h: Tensor,
    *,
    reverse: bool,
) -> _Forward:
    cell, lengths = call.spec.cell, inputs.lengths.to(x.device)
    turn = turner(lengths, x.shape[0]) if reverse else _as_it_is
    x, h = turn(x), turn(h)
    start = tuple(state[index] for state in inputs.start)
    end = tuple(state[index] for state in inputs.ends)
    h_prev = torch.cat([start[0].unsqueeze(0), h[:-1]])
    trajectory = native_replay(cell, x, h_prev, start, weights)
    if trajectory is None:
        trajectory = cell.replay(x, h_prev, start, weights)

    valid = _valid(lengths, x.shape[0])
    gaps = [torch.where(valid, gap_of_output(trajectory.h, h), 0.0).amax(dim=0)]
    gaps.append(gap_of_output(_rows_at(trajectory.h, lengths), end[0]))
    if trajectory.c is not None:
        gaps.append(gap(_rows_at(trajectory.c, lengths), end[1]))
    certificate = torch.stack(gaps).amax(dim=0)

    trajectory = _without_padding(replace(trajectory, h=h), valid)
    return _Forward(turn, x, trajectory, weights, start, end, certificate)


def _follow_back(
    call: Call, inputs: _Inputs, layers: list[list[_Forward]]
) -> list[list[LayerReplay]]:
    """From the top layer down: what arrives at each layer, and its total gradients."""
    spec, arrived, outside = call.spec, inputs.arrived, inputs.outside
    lengths = inputs.lengths.to(inputs.x.device)
    d_y, d_y_outside = Scaled(arrived["output"]), Scaled(outside["output"])
    result: list[list[LayerReplay]] = []
    for layer in range(spec.layers - 1, -1, -1):
        replays, d_x = [], []
        for direction, forward in enumerate(layers[layer]):
            index = layer * spec.directions + direction
            own = _Share(index, spec.directions, forward.turn, lengths)
            injected_h, injected_c = own.of(d_y, arrived), own.of_c(forward, arrived)
            outside_h, outside_c = injected_h, injected_c
            if outside is not arrived:
                outside_h, outside_c = own.of(d_y_outside, outside), own.of_c(forward, outside)
            back = adjoint_along(
                spec.cell,
                forward.trajectory,
                forward.weights,
                injected_h,
                injected_c,
                truncated=spec.truncated,
            )
            replays.append(
                LayerReplay(
                    x=forward.turn(forward.x),
                    trajectory=forward.trajectory.map(forward.turn),
                    start=forward.start,
                    end=forward.end,
                    certificate=forward.certificate,
                    d_h=back.d_h.map(forward.turn),
                    d_c=None if back.d_c is None else back.d_c.map(forward.turn),
                    d_h_injected=outside_h.map(forward.turn),
                    d_c_injected=_nothing_at_c(forward, outside_c).map(forward.turn)
                    if spec.cell.has_c
                    else None,
                    d_h_start=back.d_h_start,
                    d_c_start=back.d_c_start,
                )
            )
            if layer > 0:
                d_x.append(back.d_x().map(forward.turn))
        result.append(replays)
        if layer > 0:
            d_y = d_x[0] if len(d_x) == 1 else d_x[0] + d_x[1]
            if inputs.masks:
                d_y = d_y.linear(partial(torch.mul, inputs.masks[layer - 1]))
            d_y_outside = d_y
    return result[::-1]


@dataclass(frozen=True)
class _Share:
    """What of a layer's outer gradient belongs to one direction."""

    index: int  # of the layer and direction among the states
    directions: int
    turn: Callable[[Tensor], Tensor]
    lengths: Tensor

    def of(self, d_y: Scaled, gradients: dict[str, Tensor]) -> Scaled:
        """The direction's part of d_y [T, N, D*P], and what comes to h_n at the last steps."""
        direction = self.index % self.directions
        part = d_y.linear(lambda gradient: gradient.chunk(self.directions, -1)[direction])
        part = part.map(self.turn)
        if "h_n" not in gradients:
            return part
        d_end = gradients["h_n"][self.index]
        if part.exponent is None:
            return Scaled(with_rows_added(part.mantissa, d_end, self.lengths - 1))
        return part + Scaled(
            with_rows_added(torch.zeros_like(part.mantissa), d_end, self.lengths - 1)
        )

    def of_c(self, forward: _Forward, gradients: dict[str, Tensor]) -> Scaled | None:
        """What comes to c_n, at the last steps; None where nothing does."""
        if "c_n" not in gradients:
            return None
        assert forward.trajectory.c is not None
        zeros = torch.zeros_like(forward.trajectory.c)
        return Scaled(with_rows_added(zeros, gradients["c_n"][self.index], self.lengths - 1))


def _nothing_at_c(forward: _Forward, injected: Scaled | None) -> Scaled:
    """What is injected at c, with zeros written out where nothing is."""
    if injected is not None:
        return injected
    assert forward.trajectory.c is not None
    return Scaled(forward.trajectory.c.new_zeros(1, 1, 1).expand_as(forward.trajectory.c))


def _stack(calls: list[Call], gradients: list[Gradients]) -> _Inputs:
    first = calls[0]
    spec, dtype = first.spec, first.arithmetic.replay_dtype
    rounded = first.arithmetic.dtype if first.arithmetic.autocast else dtype
    xs = [_sequence(call, call.x.to(rounded)) for call in calls]
    outputs = [_sequence(call, call.outputs["output"]) for call in calls]
    starts = [
        [_state(call, state) for state in call.start] or zero_states(spec, first.weights.layers, x)
        for call, x in zip(calls, xs, strict=True)
    ]
    ends = [
        [_state(call, end) for name, end in call.outputs.items() if name != "output"]
        for call in calls
    ]
    if spec.is_cell:
        ends = [[output, *end] for output, end in zip(outputs, ends, strict=True)]
    likes = {"output": outputs, "h_n": [end[0] for end in ends], "c_n": [end[-1] for end in ends]}
    arrived = _stack_gradients(calls, [gradient.arrived for gradient in gradients], likes)
    arrived.setdefault("output", torch.zeros_like(_side_by_side(outputs)))
    masks = [_masks(call) for call in calls]
    steps, batch = xs[0].shape[:2]
    return _Inputs(
        x=_side_by_side(xs),
        lengths=torch.cat([call.layout.lengths(steps, batch) for call in calls]),
        start=[_side_by_side(parts) for parts in zip(*starts, strict=True)],
        output=_side_by_side(outputs),
        ends=[_side_by_side(parts) for parts in zip(*ends, strict=True)],
        arrived=arrived,
        outside=_without(
            arrived, _stack_gradients(calls, [gradient.carried for gradient in gradients], likes)
        ),
        masks=[_side_by_side(parts).to(dtype) for parts in zip(*masks, strict=True)],
    )


def _stack_gradients(
    calls: list[Call], parts: list[dict[str, Tensor]], likes: dict[str, list[Tensor]]
) -> dict[str, Tensor]:
    """The gradients at each output for all calls, zeros for calls that have none there."""
    found = {}
    for name, shapes in likes.items():
        if not any(name in part for part in parts):
            continue
        lay = _sequence if name == "output" else _state
        found[name] = _side_by_side(
            [
                lay(call, part[name]) if name in part else torch.zeros_like(like)
                for call, part, like in zip(calls, parts, shapes, strict=True)
            ]
        )
    return found


def _without(arrived: dict[str, Tensor], carried: dict[str, Tensor]) -> dict[str, Tensor]:
    """What arrived without what was carried; ``arrived`` itself where nothing was."""
    if not carried:
        return arrived
    return {
        name: tensor - carried[name] if name in carried else tensor
        for name, tensor in arrived.items()
    }


def _sequence(call: Call, tensor: Tensor) -> Tensor:
    return call.layout.sequence(tensor.detach()).to(call.arithmetic.replay_dtype)


def _state(call: Call, tensor: Tensor) -> Tensor:
    return call.layout.state(tensor.detach()).to(call.arithmetic.replay_dtype)


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _masks(call: Call) -> list[Tensor]:
    if call.masks is not None:
        return call.masks
    if call.rng_state is None:
        return []
    return masks_again(call.spec, call.layout, call.outputs["output"], call.rng_state)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def turner(lengths: Tensor, steps: int) -> Callable[[Tensor], Tensor]:
    """A function that turns each sequence around within its length; it undoes itself."""
    if bool((lengths == steps).all()):
        return lambda tensor: tensor.flip(0)
    t = torch.arange(steps, device=lengths.device).unsqueeze(1)
    source = torch.where(t < lengths, lengths - 1 - t, t)  # [T, N]
    sequences = torch.arange(lengths.shape[0], device=lengths.device).unsqueeze(0)
    return lambda tensor: tensor[source, sequences]


def _valid(lengths: Tensor, steps: int) -> Tensor:
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths  # [T, N]


def _rows_at(tensor: Tensor, lengths: Tensor) -> Tensor:
    """The last valid row of each sequence, [T, N, units] -> [N, units]."""
    return tensor[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)]


def with_rows_added(tensor: Tensor, rows: Tensor, steps: Tensor) -> Tensor:
    """[T, N, units] with a row [units] added to each sequence at the step that is named."""
    sequences = torch.arange(steps.shape[0], device=steps.device)
    return tensor.index_put((steps, sequences), rows, accumulate=True)


def gap_of_output(found: Tensor, expected: Tensor) -> Tensor:
    """max |found - expected| over the units in which the module's own output is finite.

    Nothing can be near an infinity or a NaN, and where sums leave the range of a dtype their order
    decides which of them comes out. ``flow.nonfinite`` says where they are.
    """
    gap = largest(found - expected)
    if bool(gap.isfinite().all()):
        return gap
    return torch.where(expected.isfinite(), (found - expected).abs(), 0.0).amax(dim=-1)


def gap(found: Tensor, expected: Tensor) -> Tensor:
    """max |found - expected| over the units; equal infinities and NaN do not differ."""
    gap = largest(found - expected)
    if bool(gap.isfinite().all()):
        return gap
    same = (found == expected) | (found.isnan() & expected.isnan())
    return torch.where(same, 0.0, (found - expected).abs()).amax(dim=-1)


def _without_padding(trajectory: Trajectory, valid: Tensor) -> Trajectory:
    """Zeros where there is no data."""
    if bool(valid.all()):
        return trajectory
    return trajectory.map(lambda tensor: torch.where(valid.unsqueeze(-1), tensor, 0.0))
