"""The networks of the bench: a recurrent layer of Carousel's, drawn in one of several ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import carousel

__all__ = ["CELLS", "STARTS", "Network", "Reader"]

# Made from the sizes of input and state, and the number of layers.
CELLS: dict[str, Callable[..., nn.Module]] = {
    "LSTM": carousel.LSTM,
    "GRU": carousel.GRU,
    "tanh RNN": carousel.RNN,
    "relu RNN": lambda *sizes, **options: carousel.RNN(*sizes, nonlinearity="relu", **options),
}

# How the layer's weights are drawn, after torch's own way; some ways depend on the lag in steps.
STARTS: dict[str, Callable[[nn.Module, int], object]] = {
    "default": lambda layer, _: layer,
    "forget bias 1": lambda layer, _: carousel.init.forget_bias_(layer, 1.0),
    "forget bias 3": lambda layer, _: carousel.init.forget_bias_(layer, 3.0),
    "chrono": carousel.init.chrono_,
    "orthogonal 0.8": lambda layer, _: carousel.init.orthogonal_(layer, 0.8),
    "orthogonal 1": lambda layer, _: carousel.init.orthogonal_(layer, 1.0),
    "orthogonal 1.5": lambda layer, _: carousel.init.orthogonal_(layer, 1.5),
    "identity 0.9": lambda layer, _: carousel.init.identity_(layer, 0.9),
    "identity 1": lambda layer, _: carousel.init.identity_(layer, 1.0),
}


class Reader(nn.Module):
    """What is said after the last step: W h_T + b of a recurrent layer.

    Args:
        layer: batch-first.
        hidden: its units.
        outputs: how many numbers are to be said.
    """

    def __init__(self, layer: nn.Module, hidden: int, outputs: int) -> None:
        super().__init__()
        self.recurrent = layer
        self.head = nn.Linear(hidden, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, outputs] of the inputs [B, T, I]."""
        output, _ = self.recurrent(inputs)
        said: Tensor = self.head(output[:, -1])
        return said


@dataclass(frozen=True)
class Network:
    """One cell, and one way in which its weights are drawn."""

    cell: str
    start: str
    hidden: int = 32
    layers: int = 1

    def make(self, inputs: int, outputs: int, lag_steps: int, seed: int) -> Reader:
        """A new network; the global random state is left as it was."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layer = CELLS[self.cell](inputs, self.hidden, num_layers=self.layers, batch_first=True)
            STARTS[self.start](layer, lag_steps)
            return Reader(layer, self.hidden, outputs)

    def __str__(self) -> str:
        depth = f", {self.layers} layers" if self.layers > 1 else ""
        return f"{self.cell}, {self.start}{depth}"
