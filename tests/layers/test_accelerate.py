"""accelerate: the layers of a model become ours, and nothing else about the model changes."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.cases import Case, Problem, few
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import carousel
from carousel.layers import Recurrent


class Tagger(nn.Module):
    """One recurrent module under two names, another in a list that torch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(3, 5, batch_first=True)
        self.again = self.first
        self.blocks = nn.ModuleDict({"deep": nn.Sequential(nn.GRU(5, 4, 2), nn.RNN(4, 4))})
        self.hidden = [self.blocks["deep"][0]]
        self.cell = nn.LSTMCell(4, 4)
        self.embedding = nn.Embedding(7, 3)


class OwnForward(nn.LSTM):
    def forward(self, x: torch.Tensor, hx: object = None) -> object:
        output, last = super().forward(x, hx)
        return output + 1, last


class OwnReset(nn.GRU):
    def reset_parameters(self) -> None:
        pass


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_a_layer_itself(case: Case) -> None:
    problem = Problem(case)
    expected = problem.everything("all")
    module = problem.module
    assert carousel.accelerate(module) is module
    assert isinstance(module, Recurrent)
    found = problem.everything("all")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            assert_close(found[name], value, case.steps, torch.float64, name)


def test_everything_stays_where_it_is() -> None:
    model = Tagger()
    model.first.eval()
    calls = []
    model.first.register_forward_hook(lambda *_: calls.append("hook"))
    before = {name: id(module) for name, module in model.named_modules(remove_duplicate=False)}
    parameters = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
    assert carousel.accelerate(model) is model
    assert {n: id(m) for n, m in model.named_modules(remove_duplicate=False)} == before
    assert {n: id(p) for n, p in model.named_parameters(remove_duplicate=False)} == parameters
    assert type(model.first) is carousel.LSTM
    assert model.again is model.first
    assert type(model.blocks["deep"][0]) is type(model.hidden[0]) is carousel.GRU
    assert type(model.blocks["deep"][1]) is carousel.RNN
    assert type(model.cell) is nn.LSTMCell
    assert not model.first.training
    assert model.blocks["deep"][0].training
    model.first(torch.zeros(1, 2, 3))
    assert calls == ["hook"]


def test_the_optimizer_goes_on() -> None:
    model = nn.GRU(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    carousel.accelerate(model)
    before = model.weight_ih_l0.detach().clone()
    model(torch.ones(5, 2, 3))[0].sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.weight_ih_l0)


def test_twice_is_once() -> None:
    model = carousel.accelerate(nn.Sequential(nn.LSTM(3, 4)))
    kind = type(model[0])
    assert type(carousel.accelerate(model)[0]) is kind
    assert type(carousel.accelerate(carousel.GRU(3, 4))) is carousel.GRU


def test_subclasses_are_left_and_named() -> None:
    model = nn.ModuleDict({"own": OwnForward(3, 4), "reset": OwnReset(3, 4), "plain": nn.RNN(3, 4)})
    with pytest.warns(UserWarning, match=r"own \(OwnForward\), reset \(OwnReset\)"):
        carousel.accelerate(model)
    kinds = [type(module) for module in model.values()]
    assert kinds == [OwnForward, OwnReset, carousel.RNN]
    with pytest.warns(UserWarning, match=r"the model itself \(OwnForward\)"):
        carousel.accelerate(OwnForward(3, 4))


def test_nothing_to_do_is_said() -> None:
    with pytest.warns(UserWarning, match=r"found no torch\.nn\.RNN, LSTM or GRU in Linear"):
        carousel.accelerate(nn.Linear(3, 4))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "parametrization", [parametrizations.weight_norm, parametrizations.spectral_norm]
)
def test_parametrized_modules(parametrization: object, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    theirs = parametrization(kind(3, 4, dtype=torch.float64), "weight_hh_l0").eval()
    ours = copy.deepcopy(theirs)
    carousel.accelerate(ours)
    assert isinstance(ours, Recurrent)
    assert parametrize.is_parametrized(ours, "weight_hh_l0")
    assert not isinstance(theirs, Recurrent)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    for module in (theirs, ours):
        module(x)[0].sin().sum().backward()
    assert_close(ours(x)[0], theirs(x)[0], 6, torch.float64, "output")
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[name].grad, 6, torch.float64, name)
    parametrize.remove_parametrizations(ours, "weight_hh_l0")
    assert isinstance(ours, Recurrent)
    assert_close(ours(x)[0], theirs(x)[0], 6, torch.float64, "output without parametrization")


def test_a_loaded_model_can_be_accelerated() -> None:
    import io

    stored = io.BytesIO()
    torch.save(nn.LSTM(3, 4, 2), stored)
    stored.seek(0)
    model = torch.load(stored, weights_only=False)
    output, _ = carousel.accelerate(model)(torch.zeros(5, 2, 3))
    assert output.shape == (5, 2, 4)
