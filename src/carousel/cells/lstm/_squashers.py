"""The squashing functions at the cell's input and output, each with its derivative.

The logistic pair is that of Hochreiter & Schmidhuber 1997, eq. 3-5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells import _codes
from carousel.cells._derivatives import d_identity, d_tanh

__all__ = ["INPUT", "OUTPUT", "Squasher"]


@dataclass(frozen=True)
class Squasher:
    """A function of one number, applied to each entry."""

    of: Callable[[Tensor], Tensor]
    d_of: Callable[[Tensor], Tensor]  # the derivative, from what ``of`` put out
    native_code: int


# 4 sigmoid(a) - 2 and 2 sigmoid(c) - 1 are written as tanh, which they are: near zero a difference
# of sigmoids would have few correct digits left.


def logistic_input(a: Tensor) -> Tensor:
    """y = 4 sigmoid(a) - 2 = 2 tanh(a / 2), from -2 to 2."""
    return 2 * torch.tanh(a / 2)


def d_logistic_input(output: Tensor) -> Tensor:
    """y' = 4 sigmoid'(a) = 1 - y^2 / 4."""
    return torch.addcmul(output.new_ones(()), output, output, value=-0.25)


def logistic_output(c: Tensor) -> Tensor:
    """y = 2 sigmoid(c) - 1 = tanh(c / 2), from -1 to 1."""
    return torch.tanh(c / 2)


def d_logistic_output(output: Tensor) -> Tensor:
    """y' = 2 sigmoid'(c) = (1 - y^2) / 2."""
    return torch.addcmul(output.new_full((), 0.5), output, output, value=-0.5)


INPUT: dict[str, Squasher] = {
    "tanh": Squasher(torch.tanh, d_tanh, _codes.G_TANH),
    "logistic": Squasher(logistic_input, d_logistic_input, _codes.G_LOGISTIC),
    "identity": Squasher(torch.clone, d_identity, _codes.G_IDENTITY),
}
OUTPUT: dict[str, Squasher] = {
    "tanh": Squasher(torch.tanh, d_tanh, _codes.H_TANH),
    "logistic": Squasher(logistic_output, d_logistic_output, _codes.H_LOGISTIC),
    "identity": Squasher(torch.clone, d_identity, _codes.H_IDENTITY),
}
