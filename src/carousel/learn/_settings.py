"""What the explorer can be set to: two networks beside each other, on one input, with one loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Literal

import torch
from torch import Tensor

from carousel.init import chrono_, forget_bias_, identity_, orthogonal_
from carousel.layers import GRU, LSTM, RNN
from carousel.learn._request import Range

__all__ = ["INPUT_SIZE", "CellName", "Network", "Settings", "loss_of", "network", "signal"]

INPUT_SIZE = 4
DRAWING = Lock()

CellName = Literal["rnn-tanh", "rnn-relu", "lstm", "lstm-1997", "lstm-peephole", "gru"]
Init = Literal["default", "orthogonal", "identity", "chrono"]


@dataclass(frozen=True)
class Network:
    """One recurrent layer and how it is initialised."""

    cell: CellName = "lstm"
    hidden: Annotated[int, Range(1, 128)] = 64
    init: Init = "default"  # of W_hh; "chrono" of the biases, for a lag of all steps
    forget_bias: Annotated[float, Range(-10, 10, 0.1)] | None = None  # in total; None: as drawn
    gain: Annotated[float, Range(0, 4, 0.05)] = 1.0  # W_hh is multiplied by it after all


@dataclass(frozen=True)
class Settings:
    """The whole of a figure: the same settings give the same numbers."""

    first: Network = field(default_factory=lambda: Network("rnn-tanh"))
    second: Network = field(default_factory=Network)
    steps: Annotated[int, Range(1, 500)] = 200
    signal: Literal["noise", "zeros", "pulse", "wave"] = "noise"
    loss: Literal["last", "middle", "every"] = "last"
    seed: Annotated[int, Range(0, 9999)] = 0


def network(settings: Network, steps: int, seed: int) -> RNN | LSTM | GRU:
    """The layer, freshly made from the seed; torch's own generator is left as it was."""
    # All threads share the generator: two requests at a time would draw from each other's seed.
    with DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = MAKERS[settings.cell](settings.hidden)
        generator = torch.Generator().manual_seed(seed)
        if settings.init == "orthogonal":
            orthogonal_(layer, generator=generator)
        elif settings.init == "identity":
            identity_(layer)
        elif settings.init == "chrono":
            chrono_(layer, max(steps, 3), generator)
        if settings.forget_bias is not None and settings.init != "chrono":
            forget_bias_(layer, settings.forget_bias)
        with torch.no_grad():
            layer.get_parameter("weight_hh_l0").mul_(settings.gain)
    return layer


MAKERS: dict[CellName, Callable[[int], RNN | LSTM | GRU]] = {
    "rnn-tanh": lambda hidden: RNN(INPUT_SIZE, hidden),
    "rnn-relu": lambda hidden: RNN(INPUT_SIZE, hidden, nonlinearity="relu"),
    "lstm": lambda hidden: LSTM(INPUT_SIZE, hidden),
    "lstm-1997": lambda hidden: LSTM(INPUT_SIZE, hidden, variant="1997"),
    "lstm-peephole": lambda hidden: LSTM(INPUT_SIZE, hidden, variant="peephole"),
    "gru": lambda hidden: GRU(INPUT_SIZE, hidden),
}


def signal(settings: Settings) -> Tensor:
    """The input, one sequence [T, 1, I]."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    shape = settings.steps, 1, INPUT_SIZE
    if settings.signal == "noise":
        return torch.randn(shape, generator=generator)
    x = torch.zeros(shape)
    if settings.signal == "pulse":
        x[0] = 1
    elif settings.signal == "wave":
        x += torch.sin(torch.arange(settings.steps) * (2 * torch.pi / 20))[:, None, None]
    return x


def loss_of(output: Tensor, place: str) -> Tensor:
    """Half the squared norm of h_t, at the last step, at the middle one, or added up over all."""
    if place == "every":
        return output.square().sum() / 2
    step = -1 if place == "last" else (len(output) - 1) // 2
    return output[step].square().sum() / 2
