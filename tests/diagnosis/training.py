"""Small trainings that remedies are proved on: the sum of two marked numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

T, B, H = 24, 16, 12


class Adder(nn.Module):
    """A recurrent layer and a number read from its last state."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(rnn.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][-1]).squeeze(-1)


def adder(kind: Callable[..., nn.Module] = nn.LSTM) -> Adder:
    """Return a model, the same each time."""
    torch.manual_seed(0)
    return Adder(kind(2, H))


def batch(generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw numbers [T, B, 2], one marked in each half of the time, and their sums [B]."""
    x = torch.rand(T, B, 2, generator=generator)
    marks = torch.zeros(T, B)
    for low, high in ((0, T // 2), (T // 2, T)):
        at = torch.randint(low, high, (B,), generator=generator)
        marks[at, torch.arange(B)] = 1.0
    x[..., 1] = marks
    return x, (x[..., 0] * marks).sum(0)


def loss_fn(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error."""
    return (output - target).square().mean()


def train_step(model: nn.Module) -> Callable[[], Tensor]:
    """Adam on new batches."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(1)

    def step() -> Tensor:
        x, y = batch(generator)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def without_optimizer(model: nn.Module, *_: Any) -> Tensor:
    """One step of plain gradient descent by hand."""
    x, y = batch(torch.Generator().manual_seed(1))
    loss = loss_fn(model(x), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.sub_(gradient, alpha=0.05)
    return loss
