"""torch.jit.trace records the operator, for other sizes, with gradients and without."""

from __future__ import annotations

import io
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import carousel

LAYERS = {
    "LSTM": lambda: carousel.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
    "LSTM peephole": lambda: carousel.LSTM(3, 4, variant="peephole", gradient="1997"),
    "GRU": lambda: carousel.GRU(3, 4, batch_first=True),
    "RNN": lambda: carousel.RNN(3, 4, nonlinearity="sigmoid"),
    "checkpointed": lambda: carousel.GRU(3, 4, checkpoint=2),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # of torch.jit as a whole
    # Sizes that are checked; torch's layers remark the same.
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
each_layer = pytest.mark.parametrize("name", LAYERS)


class Packing(nn.Module):
    """A model that packs inside, as most do."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        first = self.layer.batch_first
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False, batch_first=first)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=first)[0]


@pytest.mark.parametrize("mode", ["gradients", "no gradients", "inference"])
@each_layer
def test_another_batch(name: str, mode: str) -> None:
    """However it was traced, a trace runs with gradients and on other sizes."""
    layer = LAYERS[name]()
    context = {
        "gradients": nullcontext,
        "no gradients": torch.no_grad,
        "inference": torch.inference_mode,
    }
    with context[mode]():
        traced = torch.jit.trace(layer, (torch.randn(5, 2, 3),))
    kept = io.BytesIO()
    torch.jit.save(traced, kept)
    kept.seek(0)
    x = torch.randn(7, 6, 3)
    expected = layer(x)[0]
    expected.square().sum().backward()
    gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
    for run in (traced, torch.jit.load(kept)):
        layer.zero_grad()
        run.zero_grad()
        output = run(x)[0]
        assert torch.equal(output, expected)
        output.square().sum().backward()
        for key, parameter in run.named_parameters():
            assert torch.equal(parameter.grad, gradients[key])
        with torch.no_grad():
            assert torch.equal(run(x)[0], expected)


@each_layer
def test_packed_inside(name: str) -> None:
    model = Packing(LAYERS[name]())
    traced = torch.jit.trace(model, (torch.randn(5, 5, 3), torch.tensor([5, 3, 1, 1, 2])))
    x, lengths = torch.randn(6, 6, 3), torch.tensor([2, 6, 1, 4, 4, 3])
    assert torch.equal(traced(x, lengths), model(x, lengths))
