"""A training step and an inference of any module, as things to check and to time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import carousel
from harness._grid import Shape

__all__ = ["Inference", "Training", "example", "layer", "ragged"]


def layer(cell: str, hidden: int, *, source: str, **options: object) -> nn.Module:
    """A layer with I = H, parameters drawn from seed 0: the same for either source.

    Args:
        cell: RNN, LSTM or GRU.
        hidden: H.
        source: carousel or torch.
        options: further arguments of the layer.
    """
    torch.manual_seed(0)
    made: nn.Module = getattr({"carousel": carousel, "torch": nn}[source], cell)(
        hidden, hidden, **options
    )
    return made


def example(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """x [T, B, H] and a gradient of the output of the same shape; always the same numbers."""
    draw = torch.Generator().manual_seed(1)
    sizes = (shape.T, shape.B, shape.H)
    return (
        torch.randn(sizes, generator=draw, dtype=dtype),
        torch.randn(sizes, generator=draw, dtype=dtype),
    )


def ragged(x: Tensor) -> PackedSequence:
    """The steps of x [T, B, I] that are there when lengths are uniform in 1..T, unsorted."""
    draw = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, x.shape[0] + 1, (x.shape[1],), generator=draw)
    return pack_padded_sequence(x, lengths, enforce_sorted=False)


class Training:
    """Forward, then backward to the input and all weights, from a given gradient of the output.

    Args:
        module: ``output, states = module(x)``.
        x: a tensor or packed sequence; a leaf of its own is made of it.
        d_output: the gradient that arrives at the output (at its data, if packed).
    """

    def __init__(self, module: nn.Module, x: Tensor | PackedSequence, d_output: Tensor) -> None:
        self.module, self.d_output = module, d_output
        self.packing = None if isinstance(x, Tensor) else tuple(x)[1:]
        self.x = (x if isinstance(x, Tensor) else x.data).detach().clone().requires_grad_()
        self.leaves = {"x": self.x, **dict(module.named_parameters())}

    def __call__(self) -> None:
        """One step."""
        self._run()

    def results(self) -> dict[str, Tensor]:
        """Output, last states and gradients of one step."""
        found = {name: value.detach() for name, value in self._run().items()}
        return found | {f"d_{name}": leaf.grad for name, leaf in self.leaves.items()}

    def _run(self) -> dict[str, Tensor]:
        for leaf in self.leaves.values():
            leaf.grad = None
        x = self.x if self.packing is None else PackedSequence(self.x, *self.packing)
        found = _named(self.module(x))
        found["output"].backward(self.d_output)
        return found


class Inference:
    """Forward in eval mode under ``no_grad``."""

    def __init__(self, module: nn.Module, x: Tensor) -> None:
        self.module, self.x = module.eval(), x

    def __call__(self) -> None:
        """One pass."""
        self.results()

    def results(self) -> dict[str, Tensor]:
        """Output and last states."""
        with torch.no_grad():
            return _named(self.module(self.x))


def _named(
    result: tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, ...]],
) -> dict[str, Tensor]:
    output, states = result
    states = (states,) if isinstance(states, Tensor) else states
    names = ("h_n", "c_n")[: len(states)]
    data = output if isinstance(output, Tensor) else output.data
    return {"output": data, **dict(zip(names, states, strict=True))}
