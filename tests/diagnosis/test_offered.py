"""What a finding offers can be applied to the model that it is about, and taken back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.diagnosis.models import data, filled, last, made
from torch import Tensor, nn

import carousel

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
    "LSTM without biases": lambda: First(made(nn.LSTM, bias=False)),
    "projected LSTM": lambda: First(made(nn.LSTM, proj_size=5)),
    "peepholes": lambda: First(made(carousel.LSTM, variant="peephole")),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_remedy_fits(name: str) -> None:
    model = MODELS[name]()
    flow = carousel.measure(model, lambda: last(model(data())))
    findings = carousel.diagnose(flow, LAG)
    assert findings
    for finding in findings:
        for remedy in finding.remedies:
            twin = copy.deepcopy(model)
            applied = remedy.apply(twin)
            last(twin(data())).backward()
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
