"""Initialisations of the biases of the gates: how long a cell remembers before it has learnt.

A module has two biases, b_ih and b_hh, and only their sum acts. Both functions set the sum.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from carousel._errors import CarouselError
from carousel.cells import Cell
from carousel.cells.lstm import VARIANTS
from carousel.init._parts import cell_of, checked_number, parts_of

__all__ = ["chrono_", "forget_bias_"]

COUPLED = {variant.cell_name for variant in VARIANTS.values() if variant.coupled}  # f = 1 - i


@torch.no_grad()
def forget_bias_(module: nn.Module, value: float = 1.0, *, layer: str | None = None) -> nn.Module:
    """Set the forget gate's bias, in total over both biases: b_ih + b_hh = value.

    Where nothing else drives the gate, it stands at f = sigmoid(value), and a cell state fades as
    f^k over k steps: value = ln(T - 1) makes it 1 - 1/T. All other parameters stay as they are.
    In the variant cifg, where f = 1 - i, the input gate's bias is set to -value, which gives the
    same f.

    Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015 (value = 1).

    Args:
        module: an LSTM or an LSTMCell, changed in place in all its layers and directions.
        value: the total bias, before the sigmoid.
        layer: torch's suffix of the only layer to be changed, such as "l1_reverse"; None: all.

    Returns:
        The module.

    Raises:
        CarouselError: the module has no forget gate or no biases, or they cannot be written to.

    >>> lstm = forget_bias_(nn.LSTM(3, 2), 1.0)
    >>> (lstm.bias_ih_l0 + lstm.bias_hh_l0)[2:4]
    tensor([1., 1.], grad_fn=<SliceBackward0>)
    """
    value = checked_number("value", value, -math.inf, "the total bias of the forget gate")
    cell = cell_of(module)
    gate, sign = _forgetting(cell, module, "an LSTM with a forget gate")
    if gate == "z":
        raise CarouselError(
            f"This {type(module).__name__} has no forget gate: a GRU keeps its state through the "
            "update gate z. carousel.init.chrono_ sets the biases of both kinds of cell."
        )
    for part in parts_of(module, "bias_ih", "bias_hh", layer=layer):
        part.set_total_bias(gate, sign * value)
    return module


@torch.no_grad()
def chrono_(
    module: nn.Module,
    longest_lag_steps: float,
    generator: torch.Generator | None = None,
    *,
    layer: str | None = None,
) -> nn.Module:
    """Spread the memory of the units over all lags up to the longest (chrono initialisation).

    With u drawn for each unit from U(1, T - 1), T the longest lag, the total biases are

        b_f = ln u,    b_i = -ln u,    0 for all other gates

    so that a unit forgets in about u steps: f = u / (1 + u) = 1 - 1 / (1 + u), and takes in as much
    as it forgets: i = 1 - f. The GRU of torch keeps its state through its update gate,
    h_t = (1 - z) * n + z * h_{t-1}, so b_z = +ln u; in papers where z is what enters, the sign is
    the other one. A variant of the LSTM follows the same rule with the gates that it has: in cifg,
    where f = 1 - i, only b_i = -ln u; in nig, which has no input gate, only b_f = ln u.

    The total stands in b_ih, and b_hh is zero. Weights stay as they are.

    Source: Tallec & Ollivier, *Can recurrent neural networks warp time?*, ICLR 2018, eq. 16.

    Args:
        module: an LSTM, a GRU or a cell of theirs, changed in place in all layers and directions.
        longest_lag_steps: the longest lag T that the task needs, in steps, at least 2.
        generator: where u is drawn from; by default torch's own on the CPU. The numbers are the
            same on every device.
        layer: torch's suffix of the only layer to be changed, such as "l1_reverse"; None: all.

    Returns:
        The module.

    Raises:
        CarouselError: the module has no gate that forgets or no biases, or they cannot be written
            to, or the lag is shorter than 2 steps.

    >>> lstm = chrono_(nn.LSTM(3, 2), 100)
    >>> bool((lstm.bias_ih_l0[2:4] <= math.log(99)).all())
    True
    """
    longest = checked_number(
        "longest_lag_steps", longest_lag_steps, 2.0, "the longest lag of the task, in steps"
    )
    keeps, sign = _forgetting(cell_of(module), module, "an LSTM with a forget gate, or a GRU")
    for part in parts_of(module, "bias_ih", "bias_hh", layer=layer):
        units = part.gate("bias_ih", keeps).shape[0]
        log_u = _uniform(units, 1.0, longest - 1.0, generator).log()
        for gate in part.cell.gates:
            part.set_total_bias(gate, 0.0)
        if "i" in part.cell.gates:
            part.set_total_bias("i", -log_u)
        part.set_total_bias(keeps, sign * log_u)
    return module


def _forgetting(cell: Cell, module: nn.Module, remedy: str) -> tuple[str, float]:
    """The gate whose bias decides what is kept, and the sign with which it does.

    Args:
        cell: what the module computes.
        module: for the message.
        remedy: the cells that could be used instead, for the message.
    """
    if "f" in cell.gates:
        return "f", 1.0
    if "z" in cell.gates:
        return "z", 1.0
    if cell.name in COUPLED:
        return "i", -1.0
    kind = type(module).__name__
    what = f"{kind} computes the cell {cell.name!r}, which"
    why = "keeps its cell state whole (f = 1)" if cell.has_c else "has no gates at all"
    raise CarouselError(
        f"This {what} has no forget gate: it {why}, so there is no such bias to set. "
        f"Use a cell with one: {remedy}."
    )


def _uniform(
    count: int, low: float, high: float, generator: torch.Generator | None
) -> torch.Tensor:
    device = "cpu" if generator is None else generator.device
    numbers = torch.empty(count, dtype=torch.float64, device=device)
    return numbers.uniform_(low, high, generator=generator)
