"""The forward layer by layer, for devices on which dropout masks cannot be drawn again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import carousel
from carousel.trace import _recorder
from carousel.trace._layerwise import forward_layerwise
from carousel.trace._layout import layout_of
from carousel.trace._modules import spec_of, weights_of

FLOAT64 = torch.float64
OPTIONS = {
    "plain": {},
    "batch_first": {"batch_first": True},
    "bidirectional": {"bidirectional": True},
    "no bias": {"bias": False},
}


def inputs(kind: str) -> Tensor | PackedSequence:
    x = torch.randn(6, 3, 4, dtype=FLOAT64)
    if kind == "unbatched":
        return x[:, 0]
    if kind == "packed":
        return pack_sequence([x[:4, 0], x[:6, 1], x[:1, 2]], enforce_sorted=False)
    return x


def flat(result: object) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    assert isinstance(result, tuple)
    return [tensor for part in result for tensor in flat(part)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["batched", "unbatched", "packed"])
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_it_is_the_modules_own_forward(
    cell: type[nn.RNNBase], kind: str, options: dict[str, bool]
) -> None:
    """The same random numbers, the same outputs and gradients to rounding."""
    torch.manual_seed(0)
    model = cell(4, 5, num_layers=3, dropout=0.4, **options).double()
    x = inputs(kind)
    data = x.data if isinstance(x, PackedSequence) else x
    spec = spec_of(model)

    torch.manual_seed(1)
    expected = model(x)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    like = flat(expected)[0]
    found, masks = forward_layerwise(weights_of(model), spec, layout_of(spec, x), data, (), like)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(masks) == 2

    weights = list(model.parameters())
    for one, other in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    one = torch.autograd.grad(sum(part.square().sum() for part in flat(found)), weights)
    other = torch.autograd.grad(sum(part.square().sum() for part in flat(expected)), weights)
    for gradient, own in zip(one, other, strict=True):
        torch.testing.assert_close(gradient, own, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["batched", "packed"])
def test_its_flow_is_exact(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recorder, "masks_readable", lambda _: False)
    torch.manual_seed(0)
    model = nn.LSTM(4, 5, num_layers=2, dropout=0.4).double()
    h0 = torch.randn(2, 3, 5, dtype=FLOAT64, requires_grad=True)
    c0 = torch.randn(2, 3, 5, dtype=FLOAT64, requires_grad=True)
    with carousel.watch(model) as watcher:
        output, _ = model(inputs(kind), (h0, c0))
        flat(output)[0].square().sum().backward()
    for index, layer in enumerate(watcher.flow.layers.values()):
        assert layer.certificate <= layer.certificate_limit
        torch.testing.assert_close(layer.d_h0, h0.grad[index], rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(layer.d_c0, c0.grad[index], rtol=1e-11, atol=1e-13)
