"""What a finding offers can be applied to the model that it is about, and taken back."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.diagnosis.models import data, filled, last, made
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.diagnosis._cures import remedies_for
from carousel.diagnosis._subject import subject_of

LAG = 50


class Loop(nn.Module):
    """A cell in a loop of its own; from zeros at each step, or with its state handed on."""

    def __init__(self, cell: nn.Module, carried: bool) -> None:
        super().__init__()
        self.cell, self.carried = cell, carried

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        states = []
        for x_t in x:
            state = self.cell(x_t, state if self.carried else None)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states)


class Chunks(nn.Module):
    """Calls of one module that each start anew."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.rnn(chunk)[0] for chunk in x.split(20)])


class First(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "LSTMCell, carried": lambda: Loop(made(nn.LSTMCell), carried=True),
    "LSTMCell, from zeros": lambda: Loop(made(nn.LSTMCell), carried=False),
    "GRUCell, carried": lambda: Loop(made(nn.GRUCell), carried=True),
    "RNNCell, from zeros": lambda: Loop(made(nn.RNNCell), carried=False),
    "LSTM in chunks": lambda: Chunks(made(nn.LSTM)),
    "bidirectional LSTM in chunks": lambda: Chunks(made(nn.LSTM, bidirectional=True)),
    "two layers of GRU": lambda: First(made(nn.GRU, num_layers=2)),
    "relu RNN, dead": lambda: First(filled(made(nn.RNN, nonlinearity="relu"), -3.0, "bias")),
    "RNN without biases": lambda: First(made(nn.RNN, bias=False)),
    "float64": lambda: First(made(nn.LSTM).double()),
    "LSTM without biases": lambda: First(made(nn.LSTM, bias=False)),
    "projected LSTM": lambda: First(made(nn.LSTM, proj_size=5)),
    "peepholes": lambda: First(made(carousel.LSTM, variant="peephole")),
}


def parametrized(kind: type[nn.Module]) -> nn.Module:
    rnn = made(kind)
    nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0")
    return First(rnn)


def old_weight_norm(kind: type[nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return First(nn.utils.weight_norm(made(kind), "weight_hh_l0"))


def tied(kind: type[nn.Module]) -> nn.Module:
    rnn = made(kind, num_layers=2)
    rnn.weight_hh_l1 = rnn.weight_hh_l0
    return First(rnn)


# What a flow cannot tell: apply refuses it by name, and whoever tries remedies goes on.
REFUSING: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "frozen LSTM": (
        lambda: First(made(nn.LSTM).requires_grad_(False)),
        {"chrono", "forget-bias", "orthogonal", "flossing", "omega"},
    ),
    "frozen RNN": (
        lambda: First(made(nn.RNN).requires_grad_(False)),
        {"orthogonal", "identity", "lstm", "flossing", "omega"},
    ),
    "parametrized LSTM": (lambda: parametrized(nn.LSTM), {"orthogonal", "flossing", "omega"}),
    "parametrized RNN": (
        lambda: parametrized(nn.RNN),
        {"orthogonal", "identity", "lstm", "flossing", "omega"},
    ),
    "old weight_norm": (
        lambda: old_weight_norm(nn.RNN),
        {"orthogonal", "identity", "lstm", "flossing", "omega"},
    ),
    "tied layers": (lambda: tied(nn.RNN), {"lstm"}),
}


@pytest.mark.parametrize("name", REFUSING)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    built, expected = REFUSING[name]
    model = built()
    x = data().requires_grad_()
    flow = carousel.measure(model, lambda: last(model(x)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tried: set[str] = set()
    refused: dict[str, str] = {}
    for finding in carousel.diagnose(flow, LAG):
        for remedy in finding.remedies:
            tried.add(remedy.name)
            try:
                applied = remedy.apply(model)
            except CarouselError as error:
                refused[remedy.name] = str(error)
            else:
                applied.undo()
    assert refused.keys() == expected & tried
    assert refused
    named = ("is computed from other tensors", "is frozen", "is shared")
    assert all(any(word in said for word in named) for said in refused.values()), refused
    assert all(torch.equal(before[key], own) for key, own in model.state_dict().items())


def test_no_wider_dtype_is_offered_than_float64() -> None:
    for dtype, offered in (
        (torch.bfloat16, "float32"),
        (torch.float32, "float64"),
        (torch.float64, None),
    ):
        model = First(made(nn.LSTM)).to(dtype)
        x = data().to(dtype)
        flow = carousel.measure(model, lambda model=model, x=x: last(model(x)))
        finding = replace(carousel.diagnose(flow, LAG)[0], rule="underflow", layer="rnn.l0")
        remedies = remedies_for(finding, subject_of(flow, LAG, None, None))
        assert [each.dtype for each in remedies] == ([] if offered is None else [offered])
        for remedy in remedies:
            remedy.apply(model).undo()


class Detaching(nn.Module):
    """A training loop's chunks within one pass: the state goes on, cut from its graph."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        outputs, state = [], None
        for chunk in x.split(6):
            output, state = self.rnn(chunk, state)
            state = state.detach()
            outputs.append(output)
        return torch.cat(outputs)


@pytest.mark.parametrize("short", [True, False])
def test_nothing_is_offered_for_a_cut_or_a_short_batch(short: bool) -> None:
    model = First(made(nn.GRU)) if short else Detaching(made(nn.GRU))
    x = data(LAG - 10) if short else data()
    flow = carousel.measure(model, lambda: last(model(x)))
    findings = [
        each for each in carousel.diagnose(flow, LAG) if each.rule in ("truncation", "carry")
    ]
    assert findings
    assert all(each.remedies == () for each in findings)


@pytest.mark.parametrize("name", MODELS)
def test_each_remedy_fits(name: str) -> None:
    model = MODELS[name]()
    x = data().to(next(model.parameters()).dtype)
    flow = carousel.measure(model, lambda: last(model(x)))
    findings = carousel.diagnose(flow, LAG)
    assert findings
    for finding in findings:
        for remedy in finding.remedies:
            twin = copy.deepcopy(model)
            applied = remedy.apply(twin)
            last(twin(x)).backward()
            applied.undo()
            weights = twin.state_dict()
            assert all(torch.equal(weights[key], own) for key, own in model.state_dict().items())


def test_a_state_is_not_carried_into_cells_nor_backwards() -> None:
    offered = {}
    for name in ("LSTMCell, from zeros", "LSTM in chunks", "bidirectional LSTM in chunks"):
        model = MODELS[name]()
        flow = carousel.measure(model, lambda model=model: last(model(data())))
        findings = [each for each in carousel.diagnose(flow, LAG) if each.rule == "carry"]
        assert findings
        offered[name] = {remedy.name for each in findings for remedy in each.remedies}
    assert offered["LSTM in chunks"] == {"carry-state"}
    assert offered["LSTMCell, from zeros"] == set()
    assert offered["bidirectional LSTM in chunks"] == set()


def test_clipping_at_norms_that_are_all_infinite_has_no_length() -> None:
    """The finding stands, without a length to clip at."""
    model = MODELS["LSTM without biases"]()
    flow = carousel.measure(model, lambda: last(model(data())))
    record = carousel.diagnosis.ClippingRecord(1.0, [float("inf")] * 20)
    (cut,) = (each for each in carousel.diagnose(flow, clipping=record) if each.rule == "clipping")
    assert cut.remedies == ()


def test_two_cells_called_as_layers_are_cured_each_by_itself() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l0, self.l1 = made(nn.LSTMCell), nn.LSTMCell(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            lower = upper = None
            for x_t in x:
                lower = self.l0(x_t, lower)
                upper = self.l1(lower[0], upper)
            return upper[0][None]

    model = nn.ModuleDict({"stack": Stack()})
    batch = data()
    cure = carousel.fix(
        model,
        batch,
        lambda model, batch: last(model["stack"](batch)),
        lag=40,
        steps=3,
    )
    assert cure.outcomes
    assert not cure.refused
