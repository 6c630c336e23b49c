"""The gate that keeps the state, the biases in total, and the blocks of the recurrent weight.

LSTM    c_t = f c_{t-1} + ..        f = sigmoid(b_f + ..)      keeps by f
cifg    c_t = (1 - i) c_{t-1} + ..                             keeps by 1 - i: bias -b_i
GRU     h_t = z h_{t-1} + ..                                   keeps by z
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells.lstm import VARIANTS
from carousel.flow import LayerFlow

__all__ = ["Keeping", "block", "keeping_of", "rows_of", "total_bias"]

COUPLED = {variant.cell_name for variant in VARIANTS.values() if variant.coupled}  # f = 1 - i


@dataclass(frozen=True, eq=False)
class Keeping:
    """The gate through which a layer keeps its state."""

    gate: str  # "f", "z", or "i" where f = 1 - i
    sign: float  # +1, or -1 where the gate lets go as much as it opens
    word: str  # as sentences call it, in the plural
    factor: Tensor  # [N, H] what the state is multiplied by, at the steps that hold data
    bias: Tensor  # [H] float64, of that factor before the sigmoid, in total


def keeping_of(layer: LayerFlow) -> Keeping | None:
    """How a layer keeps its state; None for a simple RNN, and for an LSTM that always keeps it."""
    trace = layer.trace
    gates = trace.cell.gates
    if "f" in gates:
        gate, sign, word = "f", 1.0, "forget gates"
    elif "z" in gates:
        gate, sign, word = "z", 1.0, "update gates"
    elif trace.cell.name in COUPLED:
        gate, sign, word = "i", -1.0, "forget gates (1 - i)"
    else:
        return None
    activation = layer.gates[gate][trace.valid].double()
    factor = activation if sign > 0 else 1 - activation
    return Keeping(gate, sign, word, factor, sign * total_bias(layer, gate))


def rows_of(layer: LayerFlow, tensor: Tensor, gate: str) -> Tensor:
    """The rows of a parameter that belong to a gate, [H, ..]."""
    gates = layer.trace.cell.gates
    return tensor.chunk(len(gates))[gates.index(gate)]


def total_bias(layer: LayerFlow, gate: str) -> Tensor:
    """b_ih + b_hh of a gate [H] float64; zero where the module has no biases."""
    weights = layer.trace.weights
    if weights.b_ih is None or weights.b_hh is None:
        return torch.zeros(layer.hidden, dtype=torch.float64)
    both = weights.b_ih.double() + weights.b_hh.double()
    return rows_of(layer, both, gate).cpu()


def block(layer: LayerFlow, gate: str) -> Tensor:
    """W_h of a gate [H, P], float64 on the CPU."""
    return rows_of(layer, layer.trace.weights.w_hh, gate).double().cpu()
