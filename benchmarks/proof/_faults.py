"""How models are made healthy for a lag, and how faults are planted in them.

Everything is written into the parameters here, and nothing is computed by what is under test, with
one exception: the initialisations of ``carousel.init``, which have tests of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

import carousel
from proof._readers import StackReader

__all__ = [
    "dead",
    "default",
    "double_chrono",
    "double_forget_bias",
    "drawn",
    "forgets",
    "grows",
    "infinite_weight",
    "make_healthy",
    "nan_input",
    "non_normal",
    "nothing_carried",
    "one_bias",
    "orthogonal_gates",
    "padded",
    "short_chrono",
    "shut",
    "small_weight",
    "stacked_orthogonal",
    "starving",
]

Plant = Callable[[StackReader, int], None]

GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}  # in torch's order
FOLDS = 12  # e-folds between the loss and the lag in a sick model: e^-12 = 6e-6
CALM = 0.01  # of torch's input weights: a simple RNN that stays where its nonlinearity is straight
SHORTER = 12  # the lag of a chrono initialisation for a shorter one, as a fraction


# ---- the layers


def drawn(cell: str, source: str, sizes: tuple[int, int, int]) -> nn.Module:
    """A layer as torch draws it, from the global random state, with its time first."""
    inputs, hidden, layers = sizes
    package = {"torch": nn, "carousel": carousel}[source]
    if cell in ("LSTM", "GRU"):
        gated: nn.Module = getattr(package, cell)(inputs, hidden, num_layers=layers)
        return gated
    nonlinearity = {"tanh RNN": "tanh", "relu RNN": "relu", "linear RNN": "identity"}[cell]
    simple: nn.Module = package.RNN(inputs, hidden, num_layers=layers, nonlinearity=nonlinearity)
    return simple


def kind_of(layer: nn.Module) -> str:
    """Which of "LSTM", "GRU" and "RNN" it is."""
    return type(layer).__name__


def named(layer: nn.Module, what: str) -> list[nn.Parameter]:
    """The parameters of all layers whose names begin so."""
    return [p for name, p in layer.named_parameters() if name.startswith(what)]


def gate_rows(layer: nn.Module, gate: str) -> slice:
    """The rows of a gate in the weights and biases."""
    hidden = layer.hidden_size
    k = GATES[kind_of(layer)].index(gate)
    return slice(k * hidden, (k + 1) * hidden)


# ---- healthy


@torch.no_grad()
def make_healthy(model: StackReader, cell: str, lag_steps: int) -> None:
    """Make the gradient reach the lag: about one e-fold at the most is lost on the way.

    Gated cells by chrono initialisation. Simple ones by an orthogonal matrix, relu by the identity,
    and input weights so small that the nonlinearity stays straight: those of relu are positive, so
    that no unit is dead, and biases are zero.
    """
    layer = model.recurrent
    if kind_of(layer) != "RNN":
        carousel.init.chrono_(layer, lag_steps)
        return
    if cell == "relu RNN":
        carousel.init.identity_(layer)
        for weight in named(layer, "weight_ih"):
            weight.abs_()
    else:
        carousel.init.orthogonal_(layer)
    for bias in named(layer, "bias"):
        bias.zero_()
    for weight in named(layer, "weight_ih")[:1]:
        weight.mul_(CALM)


def one_bias(model: StackReader, lag_steps: int) -> None:
    """ln(lag - 1) in one of the two biases of the forget gate, and zero in the other."""
    with torch.no_grad():
        for name, value in (("bias_ih", math.log(lag_steps - 1)), ("bias_hh", 0.0)):
            for bias in named(model.recurrent, name):
                bias[gate_rows(model.recurrent, "f")] = value


def orthogonal_gates(model: StackReader, _lag_steps: int) -> None:
    """Every gate's block orthogonal by itself, and halved: the state is kept by the gates."""
    carousel.init.orthogonal_(model.recurrent, 0.5)


def default(model: StackReader, _lag_steps: int) -> None:
    """Everything drawn anew, as torch draws it."""
    model.recurrent.reset_parameters()


# ---- too little, too much


def forgets(model: StackReader, lag_steps: int) -> None:
    """A forget gate at exp(-12 / lag)."""
    default(model, lag_steps)
    kept = math.exp(-FOLDS / lag_steps)
    carousel.init.forget_bias_(model.recurrent, math.log(kept / (1 - kept)))


def short_chrono(model: StackReader, lag_steps: int) -> None:
    """Chrono initialisation for a twelfth of the lag."""
    carousel.init.chrono_(model.recurrent, max(2.5, lag_steps / SHORTER))


def small_weight(model: StackReader, lag_steps: int) -> None:
    """Each step keeps exp(-12 / lag)."""
    scale_recurrent(model, math.exp(-FOLDS / lag_steps))


def grows(model: StackReader, lag_steps: int) -> None:
    """Each step makes exp(12 / lag) of one."""
    scale_recurrent(model, math.exp(FOLDS / lag_steps))


@torch.no_grad()
def scale_recurrent(model: StackReader, factor: float) -> None:
    """Scale W_hh, which is orthogonal or the identity."""
    for weight in named(model.recurrent, "weight_hh"):
        weight.mul_(factor)


def nothing_carried(model: StackReader, _lag_steps: int) -> None:
    """W_hh = 0."""
    scale_recurrent(model, 0.0)


@torch.no_grad()
def non_normal(model: StackReader, _lag_steps: int) -> None:
    """Chains of four units, 0.5 on the diagonal and 3 beside it: eigenvalues 0.5, norm above 3.

    The chains are short because eigenvalues of long ones cannot be computed: an error of 1e-7 in
    one entry moves those of a chain of n by 3 * (1e-7)^(1/n), 1.5 for n = 24.
    """
    for weight in named(model.recurrent, "weight_hh"):
        size = weight.shape[0]
        beside = torch.ones(size - 1)
        beside[3::4] = 0.0
        weight.copy_(0.5 * torch.eye(size) + 3.0 * torch.diag(beside, 1))


# ---- gates and units at their ends


def shut(gate: str, value: float) -> Plant:
    """One gate's total bias at a value from which it cannot get away; the rest is healthy.

    An LSTM keeps its state by a forget gate at 1 - 1 / lag, the same in all units.
    """

    def plant(model: StackReader, lag_steps: int) -> None:
        default(model, lag_steps)
        layer = model.recurrent
        if kind_of(layer) == "LSTM":
            carousel.init.forget_bias_(layer, math.log(lag_steps - 1))
        with torch.no_grad():
            for name, each in (("bias_ih", value), ("bias_hh", 0.0)):
                for bias in named(layer, name):
                    bias[gate_rows(layer, gate)] = each

    return plant


def dead(part: float) -> Plant:
    """A bias of -10 in that part of the units of each layer."""

    def plant(model: StackReader, _lag_steps: int) -> None:
        with torch.no_grad():
            for bias in named(model.recurrent, "bias_hh"):
                bias[: round(part * len(bias))] = -10.0

    return plant


# ---- initialisations gone wrong


@torch.no_grad()
def double_forget_bias(model: StackReader, lag_steps: int) -> None:
    """1 in both biases of the forget gate, as Keras' default and torch's two biases suggest."""
    default(model, lag_steps)
    for bias in named(model.recurrent, "bias"):
        bias[gate_rows(model.recurrent, "f")] = 1.0


@torch.no_grad()
def double_chrono(model: StackReader, lag_steps: int) -> None:
    """ln u in both biases of the gate that keeps, -ln u in both of the input gate."""
    layer = model.recurrent
    keeps = "f" if kind_of(layer) == "LSTM" else "z"
    biases = zip(named(layer, "bias_ih"), named(layer, "bias_hh"), strict=True)
    for pair in biases:
        log_u = torch.empty(layer.hidden_size).uniform_(1.0, lag_steps - 1.0).log()
        for bias in pair:
            bias.zero_()
            bias[gate_rows(layer, keeps)] = log_u
            if keeps == "f":
                bias[gate_rows(layer, "i")] = -log_u


def stacked_orthogonal(model: StackReader, _lag_steps: int) -> None:
    """torch.nn.init.orthogonal_ on the stacked weight."""
    for weight in named(model.recurrent, "weight_hh"):
        nn.init.orthogonal_(weight)


@torch.no_grad()
def starving(model: StackReader, _lag_steps: int) -> None:
    """The upper layer hardly looks at the lower one."""
    named(model.recurrent, "weight_ih")[1].mul_(1e-6)


# ---- values


@torch.no_grad()
def infinite_weight(model: StackReader, _lag_steps: int) -> None:
    """One recurrent weight is infinite."""
    named(model.recurrent, "weight_hh")[0][1, 2] = math.inf


def nan_input(inputs: Tensor) -> Tensor:
    """One number in the middle of one sequence is NaN."""
    inputs = inputs.clone()
    inputs[3, inputs.shape[1] // 2, 0] = math.nan
    return inputs


def padded(inputs: Tensor) -> Tensor:
    """Zeros from six tenths on in every second sequence, and fewer in some of the others."""
    inputs = inputs.clone()
    steps = inputs.shape[1]
    inputs[::2, steps * 6 // 10 :] = 0.0
    inputs[1::4, steps * 8 // 10 :] = 0.0
    return inputs
