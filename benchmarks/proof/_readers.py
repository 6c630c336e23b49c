"""How a stack is run over a sequence: whole, or in one of the ways in which it goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["READERS", "Run", "StackReader"]

CHUNK = 10  # steps in one call

Run = Callable[[nn.Module, Tensor], Tensor]  # the layer and its inputs [B, T, I] -> h_T [B, H]


class StackReader(nn.Module):
    """What is said after the last step: W h_T + b of a recurrent layer.

    Args:
        run: how the layer reads a sequence.
        recurrent: the layer, with its time first.
        outputs: how many numbers are to be said.
    """

    def __init__(self, run: Run, recurrent: nn.Module, outputs: int) -> None:
        super().__init__()
        self.run = run
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, outputs] of the inputs [B, T, I]."""
        said: Tensor = self.head(self.run(self.recurrent, inputs))
        return said


def whole(layer: nn.Module, inputs: Tensor) -> Tensor:
    """In one call, as it should be."""
    last: Tensor = layer(inputs.transpose(0, 1))[0][-1]
    return last


def axes(layer: nn.Module, inputs: Tensor) -> Tensor:
    """As if the layer took the batch first, which it does not."""
    last: Tensor = layer(inputs)[0][:, -1]
    return last


def carried(layer: nn.Module, inputs: Tensor) -> Tensor:
    """In chunks, each from the state that the one before left."""
    return chunks(layer, inputs, lambda state: state)


def detached(layer: nn.Module, inputs: Tensor) -> Tensor:
    """In chunks whose state is detached."""
    return chunks(layer, inputs, cut)


def dropped(layer: nn.Module, inputs: Tensor) -> Tensor:
    """In chunks that all begin at zero."""
    return chunks(layer, inputs, lambda _: None)


def chunks(layer: nn.Module, inputs: Tensor, between: Callable[[Any], Any]) -> Tensor:
    """Call by call, each asked at its end; ``between`` makes a first state of the last before it.

    The mean of what the chunks end with: a training in chunks has a loss in each of them.
    """
    state = None
    ends = []
    for part in inputs.transpose(0, 1).split(CHUNK):
        output, state = layer(part, between(state))
        ends.append(output[-1])
    return torch.stack(ends).mean(0)


def cut(state: Any) -> Any:
    """A state without its history."""
    if state is None:
        return None
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


READERS: dict[str, Run] = {
    "whole": whole,
    "axes": axes,
    "carried": carried,
    "detached": detached,
    "dropped": dropped,
}
