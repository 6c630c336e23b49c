"""Flows whose gradients are known in closed form, for the tests of the report.

A tanh RNN without bias that is fed zeros stays at zero, where tanh' = 1. With a diagonal weight
matrix its units are then separate linear recurrences: a loss on unit u at step n sends w_u^(n - t)
to step t.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import carousel
from carousel.flow import Flow

STEPS = 60
SHORT = 20  # steps of the sequence that is padded
NAN_STEP = 30  # where the gradient of one sequence becomes NaN
WEIGHTS = {
    "value": 1.0,
    "underflow": 0.01,
    "infinite": 30.0,
    "zero": 0.0,
    "nan": 1.0,
    "padding": 1.0,
}
CATEGORIES = tuple(WEIGHTS)  # the category of each sequence of ``categories()``, in their order


class DiagonalRNN(nn.Module):
    """A tanh RNN with a diagonal weight matrix, over packed sequences."""

    def __init__(self, weights: list[float], lengths: list[int]) -> None:
        super().__init__()
        self.rnn = nn.RNN(1, len(weights), bias=False)
        self.lengths = torch.tensor(lengths)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(torch.tensor(weights).diag())

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, self.lengths, enforce_sorted=False)
        output: Tensor = pad_packed_sequence(self.rnn(packed)[0])[0]
        return output


@cache
def categories() -> Flow:
    """Six sequences, each of them of another category at step 0, or at the last step."""
    lengths = [STEPS] * (len(WEIGHTS) - 1) + [SHORT]
    model = DiagonalRNN(list(WEIGHTS.values()), lengths)
    rows = torch.arange(len(WEIGHTS))

    def loss(output: Tensor, ends: Tensor) -> Tensor:
        nan_at = (torch.tensor([NAN_STEP]), torch.tensor([CATEGORIES.index("nan")]))
        output.register_hook(lambda g: g.index_put(nan_at, torch.tensor(float("nan"))))
        return output[ends, rows, rows].sum()

    return carousel.measure(
        model, (torch.zeros(STEPS, len(WEIGHTS), 1), torch.tensor(lengths) - 1), loss
    )


def decaying(*, weight: float, steps: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Flow:
    """One linear unit and one sequence."""
    model = DiagonalRNN([weight], [steps])
    return carousel.measure(model, (torch.zeros(steps, 1, 1), torch.zeros(1)), loss)


@cache
def tenth(steps: int = 20) -> Flow:
    """A gradient that is 10^-(lag), from a loss on the last step alone."""
    return decaying(weight=0.1, steps=steps, loss=lambda output, _: output[-1].sum())


@cache
def one_nan_in(steps: int) -> Flow:
    """A gradient that is NaN at the first step of very many, and nowhere else."""

    def loss(output: Tensor, _: Tensor) -> Tensor:
        nan_at = (torch.tensor([0]),)
        output.register_hook(lambda g: g.index_put(nan_at, torch.tensor(float("nan"))))
        return output.sum()

    return decaying(weight=0.0, steps=steps, loss=loss)


@cache
def lstm(*, layers: int = 1, steps: int = 40) -> Flow:
    """An ordinary LSTM with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.LSTM(3, 5, num_layers=layers)
        x = torch.randn(steps, 4, 3)
    return carousel.measure(model, (x, 0.0), lambda output, _: output[0][-1].square().sum())


@cache
def called(times: int) -> Flow:
    """One GRU called so many times, each call going on from the state that the last one left."""
    model = nn.GRU(2, 3)
    state = None
    with carousel.watch(model) as watcher:
        for chunk in torch.ones(2 * times, 4, 2).split(2):
            output, state = model(chunk, state)
        output[-1].sum().backward()
    return watcher.flow
