"""Modules whose parameters cannot be written to: refused by name, and left as they were."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from tests.init.modules import others
from tests.tolerances import assert_identical
from torch import nn
from torch.nn.utils import parametrizations

from carousel import CarouselError
from carousel.init import chrono_, forget_bias_, identity_, orthogonal_

Initialise = Callable[[nn.Module], nn.Module]
BIASES: dict[str, Initialise] = {
    "forget_bias_": forget_bias_,
    "chrono_": lambda module: chrono_(module, 10),
}
ALL: dict[str, Initialise] = BIASES | {"orthogonal_": orthogonal_, "identity_": identity_}


def module_for(name: str, **options: object) -> nn.Module:
    return (nn.RNN if name == "identity_" else nn.LSTM)(2, 3, **options)


def written(name: str) -> str:
    """Return a parameter that the function sets."""
    return "bias_hh_l1" if name in BIASES else "weight_hh_l1"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("target", [nn.Linear(2, 2), nn.Sequential(nn.LSTM(2, 2)), None])
def test_not_a_recurrent_module(name: str, target: object) -> None:
    kind = type(target).__name__
    with pytest.raises(CarouselError, match=f"Expected a recurrent module, got {kind}"):
        ALL[name](target)


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_no_biases(name: str, kind: type[nn.Module]) -> None:
    with pytest.raises(CarouselError, match=f"This {kind.__name__} has no biases"):
        BIASES[name](kind(2, 3, bias=False))


@pytest.mark.parametrize("name", ALL)
def test_on_the_meta_device(name: str) -> None:
    module = module_for(name, num_layers=2, device="meta")
    with pytest.raises(CarouselError, match=r"_l0 of this .* is on the meta device"):
        ALL[name](module)


@pytest.mark.parametrize("name", ALL)
def test_parametrised(name: str) -> None:
    module = module_for(name, num_layers=2)
    parameter = "bias_ih_l1" if name in BIASES else "weight_hh_l1"
    if name in BIASES:
        nn.utils.parametrize.register_parametrization(module, parameter, nn.Identity())
    else:
        parametrizations.orthogonal(module, parameter)
    kept = others(module)
    with pytest.raises(CarouselError, match=f"{parameter} of this .* is parametrised"):
        ALL[name](module)
    assert_identical(others(module), kept)


def test_weight_norm_of_old() -> None:
    lstm = nn.LSTM(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(lstm, "weight_hh_l0")
    with pytest.raises(CarouselError, match="weight_hh_l0 is not a parameter of this LSTM"):
        orthogonal_(lstm)


@pytest.mark.parametrize("name", ALL)
def test_shared(name: str) -> None:
    module = module_for(name, num_layers=2)
    one = written(name)
    other = one.replace("l1", "l0")
    setattr(module, one, getattr(module, other))
    kept = others(module)
    with pytest.raises(CarouselError, match=f"{other} and {one} of this .* are the same tensor"):
        ALL[name](module)
    assert_identical(others(module), kept)


@pytest.mark.parametrize("name", BIASES)
def test_one_bias_used_twice(name: str) -> None:
    cell = nn.LSTMCell(2, 3)
    cell.bias_hh = cell.bias_ih
    with pytest.raises(CarouselError, match="bias_ih and bias_hh of this LSTMCell are the same"):
        BIASES[name](cell)


def test_parameters_that_are_not_written_may_be_anything() -> None:
    lstm = nn.LSTM(2, 3, bias=False)
    parametrizations.orthogonal(lstm, "weight_ih_l0")
    assert orthogonal_(lstm) is lstm
    values = torch.linalg.svdvals(lstm.weight_hh_l0.detach()[:3])
    assert values.tolist() == pytest.approx([1.0] * 3, abs=1e-6)


@pytest.mark.parametrize("name", BIASES)
def test_what_is_advised_is_taken(name: str) -> None:
    """The advice names a GRU to chrono_ alone, for forget_bias_ refuses it."""
    with pytest.raises(CarouselError, match=r"This RNN computes.*Use a cell with one") as raised:
        BIASES[name](nn.RNN(2, 3))
    assert ("GRU" in str(raised.value)) == (name == "chrono_")
    advised = [nn.LSTM] + [nn.GRU] * (name == "chrono_")
    for kind in advised:
        BIASES[name](kind(2, 3))
