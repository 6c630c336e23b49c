"""Second derivatives where one input of a run depends on another, or is given twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import carousel


def carried(layer: nn.Module, x: Tensor) -> Tensor:
    _, state = layer(x)
    return layer(2 * x, state)[0]


def from_input(layer: nn.Module, x: Tensor) -> Tensor:
    h_0 = x[:1, :, :1].expand(1, -1, 3).contiguous()
    return layer(x, (h_0, h_0) if layer.mode == "LSTM" else h_0)[0]


def tied(layer: nn.Module, x: Tensor) -> Tensor:
    layer.bias_hh_l0 = layer.bias_ih_l0
    return layer(x)[0]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("forward", [carried, from_input, tied])
def test_as_torch(kind: str, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
    theirs = getattr(nn, kind)(2, 3, dtype=torch.float64)
    ours = getattr(carousel, kind)(2, 3, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 2, 2, dtype=torch.float64)

    def gradients(layer: nn.Module) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        loss = forward(layer, leaf).square().sum()
        (d_x,) = torch.autograd.grad(loss, leaf, create_graph=True)
        penalty = d_x.square().sum()
        inputs = [leaf, *dict.fromkeys(layer.parameters())]
        return [d_x, *torch.autograd.grad(penalty, inputs)]

    for found, expected in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_weight_of_another_dtype_is_refused() -> None:
    layer = carousel.LSTM(3, 64)
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach().double())
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(4, 2, 3))


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_peephole_l0"])
def test_a_transposed_weight_is_refused(name: str) -> None:
    """It has as many numbers as the core expects, in another order."""
    layer = carousel.LSTM(3, 8, variant="peephole")
    weights = {**dict(layer.named_parameters()), name: getattr(layer, name).detach().T}
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"expected .* of size \[.*, 8\]"):
        torch.func.functional_call(layer, weights, (torch.randn(4, 2, 3),))


def test_a_weight_of_another_size_is_refused() -> None:
    layer = carousel.LSTM(3, 8, variant="peephole")
    weights = {**dict(layer.named_parameters()), "weight_peephole_l0": torch.ones(1, 1)}
    with pytest.raises((RuntimeError, carousel.CarouselError)):
        torch.func.functional_call(layer, weights, (torch.randn(4, 2, 3),))
