"""checkpoint: the same numbers from a fraction of the memory."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import carousel

KINDS = {
    "RNN": carousel.RNN,
    "GRU": carousel.GRU,
    "LSTM": carousel.LSTM,
    "peephole": lambda *sizes, **options: carousel.LSTM(*sizes, variant="peephole", **options),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("steps_kept", [True, 2, 3, 7, 100])
@pytest.mark.parametrize("form", ["time first", "batch first", "packed"])
@each_kind
def test_the_same_numbers(kind: str, form: str, *, steps_kept: bool | int) -> None:
    torch.manual_seed(0)
    plain = KINDS[kind](
        3, 5, 2, bidirectional=True, batch_first=form == "batch first", dtype=torch.float64
    )
    thrifty = copy.deepcopy(plain)
    thrifty.checkpoint = steps_kept
    rows = torch.randn(10, 4, 3, dtype=torch.float64)
    lengths = [3, 10, 7, 1] if form == "packed" else [10] * 4
    sequences = [rows[:n, b].requires_grad_() for b, n in enumerate(lengths)]

    def call(layer: nn.Module) -> dict[str, torch.Tensor]:
        if form == "packed":
            output, last = layer(pack_sequence(sequences, enforce_sorted=False))
            output = output.data
        else:
            output, last = layer(torch.stack(sequences, dim=0 if form == "batch first" else 1))
        found = dict(enumerate([output, *(last if isinstance(last, tuple) else [last])]))
        loss = sum((part.sin() * (1 + place)).sum() for place, part in found.items())
        leaves = [*sequences, *layer.parameters()]
        gradients = torch.autograd.grad(loss, leaves)
        return {f"result {place}": part for place, part in found.items()} | {
            f"gradient {place}": part for place, part in enumerate(gradients)
        }

    expected = call(plain)
    for name, value in call(thrifty).items():
        assert_close(value, expected[name], 10, torch.float64, name)


def bytes_kept(layer: nn.Module, x: torch.Tensor) -> int:
    """What lies in the graph, parameters and input aside; each storage once."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output, _ = layer(x)
    kept[output.untyped_storage().data_ptr()] = output.untyped_storage().nbytes()
    return sum(kept.values())


@pytest.mark.parametrize("checkpoint", [True, 10, 50])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "peephole"])
def test_memory_falls_to_a_quarter(kind: str, *, checkpoint: bool | int) -> None:
    """Of what one layer keeps of each step, the output that the user holds included."""
    layer = KINDS[kind](8, 32)
    x = torch.randn(400, 2, 8)
    plain = bytes_kept(layer, x)
    layer.checkpoint = checkpoint
    thrifty = bytes_kept(layer, x)
    assert thrifty * 4 <= plain, (plain, thrifty)


def test_nothing_of_a_step_is_kept_but_its_output() -> None:
    layer = carousel.LSTM(8, 32, checkpoint=100)
    kept = {steps: bytes_kept(layer, torch.randn(steps, 1, 8)) for steps in (100, 200)}
    states = 2 * 32 * 4  # before the second segment
    assert kept[200] - kept[100] == 100 * 32 * 4 + states


@each_kind
def test_second_derivatives(kind: str) -> None:
    layer = KINDS[kind](2, 3, checkpoint=2, dtype=torch.float64)
    x = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda rows: layer(rows)[0], x, fast_mode=True)
