"""Initialising one layer of a module, in one direction, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from carousel import CarouselError
from carousel.init import chrono_, forget_bias_, identity_, orthogonal_

DEEP: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
FUNCTIONS: dict[str, tuple[Callable[..., nn.Module], type[nn.Module], set[str]]] = {
    "forget_bias_": (forget_bias_, nn.LSTM, {"bias_ih", "bias_hh"}),
    "chrono_": (lambda module, **o: chrono_(module, 20, **o), nn.GRU, {"bias_ih", "bias_hh"}),
    "orthogonal_": (orthogonal_, nn.LSTM, {"weight_hh"}),
    "identity_": (identity_, nn.RNN, {"weight_hh", "bias_ih", "bias_hh"}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("layer", ["l0", "l0_reverse", "l1", "l1_reverse"])
def test_only_that_layer_is_written_to(name: str, layer: str) -> None:
    function, kind, kinds = FUNCTIONS[name]
    module = kind(3, 4, **DEEP)
    before = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    assert function(module, layer=layer) is module
    changed = {
        name for name, tensor in module.named_parameters() if not torch.equal(tensor, before[name])
    }
    assert changed == {f"{each}_{layer}" for each in kinds}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_layer_that_is_not_there(name: str) -> None:
    function, kind, _ = FUNCTIONS[name]
    with pytest.raises(CarouselError, match=r"has no layer 'l2'. Its layers are: l0, l0_reverse"):
        function(kind(3, 4, **DEEP), layer="l2")


def test_a_cell_is_its_own_l0() -> None:
    cell = forget_bias_(nn.LSTMCell(3, 4), 2.0, layer="l0")
    assert (cell.bias_ih + cell.bias_hh)[4:8].tolist() == [2.0] * 4


def test_another_layer_may_be_parametrised() -> None:
    lstm = nn.LSTM(3, 4, num_layers=2)
    nn.utils.parametrizations.orthogonal(lstm, "weight_hh_l1")
    orthogonal_(lstm, layer="l0")
    with pytest.raises(CarouselError, match=r"weight_hh_l1 of this .* is parametrised"):
        orthogonal_(lstm, layer="l1")
