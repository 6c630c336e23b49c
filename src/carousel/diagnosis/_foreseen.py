"""What a layer would do with other weights: run again on the input that the flow holds.

Of a layer above another one this is an answer about that layer alone, since its input would change
with the layer below.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from carousel.cells import Trajectory, Weights
from carousel.diagnosis._gates import keeping_of
from carousel.flow import Horizon, LayerFlow
from carousel.trace import turner

__all__ = ["chrono_weights", "few_sequences", "horizon_with", "orthogonal_weights", "steps_of"]

MOST_SEQUENCES = 4  # a horizon needs no more, and this has to answer at once


def horizon_with(layer: LayerFlow, weights: Weights) -> Horizon | None:
    """The horizon of a layer if it had these weights; None where it cannot be run again.

    The layer starts from the state that it started from, and is given the same inputs.

    Args:
        layer: of a cell whose equations are known.
        weights: of this layer and direction.
    """
    trace = layer.trace
    if not trace.cell.derived or trace.boundaries:
        return None
    turn = turner(trace.lengths, layer.steps) if trace.direction == "reverse" else None
    x = (trace.x if turn is None else turn(trace.x))[:, :MOST_SEQUENCES]
    own = trace.trajectory if turn is None else trace.trajectory.map(turn)
    states = (own.h_prev, own.c_prev)
    start = tuple(state[0, :MOST_SEQUENCES] for state in states if state is not None)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        trajectory = _run(layer, x, start, weights)
    again = replace(
        trace,
        x=x,
        lengths=trace.lengths[:MOST_SEQUENCES],
        direction="forward",
        weights=weights,
        trajectory=trajectory,
        handed_over=trace.handed_over[:, :MOST_SEQUENCES],
    )
    return LayerFlow(again).horizon()


def _run(layer: LayerFlow, x: Tensor, start: tuple[Tensor, ...], weights: Weights) -> Trajectory:
    cell = layer.trace.cell
    state, before = start, [start[0]]
    for x_t in x[:-1]:
        state = cell.step(x_t, state, weights)
        before.append(state[0])
    return cell.replay(x, torch.stack(before), start, weights)


def few_sequences(layer: LayerFlow, most: int) -> LayerFlow:
    """The layer with its longest sequences alone, for what costs much and differs little."""
    trace = layer.trace
    keep = trace.lengths.argsort(descending=True, stable=True)[:most]

    def pick(tensor: Tensor) -> Tensor:
        return tensor[:, keep]

    few = replace(
        trace,
        x=pick(trace.x),
        lengths=trace.lengths[keep],
        trajectory=trace.trajectory.map(pick),
        d_h=trace.d_h.map(pick),
        d_c=None if trace.d_c is None else trace.d_c.map(pick),
        d_h_injected=trace.d_h_injected.map(pick),
        d_c_injected=None if trace.d_c_injected is None else trace.d_c_injected.map(pick),
        d_h_start=trace.d_h_start.map(pick),
        d_c_start=None if trace.d_c_start is None else trace.d_c_start.map(pick),
        handed_over=pick(trace.handed_over),
    )
    return LayerFlow(few)


def chrono_weights(layer: LayerFlow, longest_lag_steps: int) -> Weights | None:
    """The weights with chrono biases for a lag, their u evenly spread over U(1, T - 1).

    ``carousel.init.chrono_`` draws u at random; here they stand where the draws lie on average, so
    that the same flow has the same answer. None where there is no gate or bias to set.
    """
    weights, keeping = layer.trace.weights, keeping_of(layer)
    if keeping is None or weights.b_ih is None or weights.b_hh is None or longest_lag_steps < 2:
        return None
    units = layer.hidden
    places = torch.arange(1, units + 1, dtype=torch.float64) / (units + 1)
    log_u = (1 + (longest_lag_steps - 2) * places).log().to(weights.b_ih)
    b_ih = torch.zeros_like(weights.b_ih)
    gates = layer.trace.cell.gates
    if "i" in gates:
        b_ih[gates.index("i") * units : (gates.index("i") + 1) * units] = -log_u
    kept = gates.index(keeping.gate) * units
    b_ih[kept : kept + units] = keeping.sign * log_u
    return replace(weights, b_ih=b_ih, b_hh=torch.zeros_like(weights.b_hh))


def orthogonal_weights(layer: LayerFlow) -> Weights:
    """The weights with every gate's block of W_hh orthogonal, drawn from a seed of their own."""
    weights = layer.trace.weights
    generator = torch.Generator().manual_seed(0)
    blocks = []
    for own in weights.w_hh.chunk(len(layer.trace.cell.gates)):
        empty = torch.empty(own.shape, dtype=torch.float64)
        blocks.append(torch.nn.init.orthogonal_(empty, 1.0, generator).to(own))
    return replace(weights, w_hh=torch.cat(blocks))


def steps_of(horizon: Horizon | None) -> float:
    """The horizon in steps; infinite where there is no decay, NaN where nothing is known."""
    if horizon is None or horizon.kind in ("nonfinite", "too short"):
        return math.nan
    return math.inf if horizon.steps is None and horizon.kind != "zero" else horizon.steps or 0.0
