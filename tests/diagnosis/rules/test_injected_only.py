"""A gradient that is injected at each step and never carried."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, filled, found, last, made, measured, only, scaled
from torch import nn

import carousel


@pytest.mark.parametrize("kind", [nn.RNN, carousel.RNN])
def test_no_recurrent_weight(kind: type[nn.Module]) -> None:
    flow = measured(scaled(made(kind), 0.0), loss=every)
    finding = only(flow, "injected-only", 5)
    assert finding.severity == "error"
    assert only(flow, "injected-only").severity == "warning"
    assert "exactly nothing" in finding.sentence


@pytest.mark.parametrize(("factor", "sick"), [(2e-4, True), (1e-2, False)])
@pytest.mark.parametrize("loss", [last, every])
@pytest.mark.parametrize("both", [False, True])
def test_the_threshold_is_a_share_of_a_step(
    factor: float, loss: object, *, sick: bool, both: bool
) -> None:
    module = made(carousel.RNN, nonlinearity="identity", bidirectional=both)
    carousel.init.orthogonal_(module, factor)
    x = data().flip(0) if both else data()
    findings = found(measured(module, x, loss), "injected-only")
    assert "l0" in [finding.layer for finding in findings] if sick else not findings


def test_an_lstm_carries_along_c_without_recurrent_weights() -> None:
    module = scaled(made(nn.LSTM), 0.0)
    assert not found(measured(module, loss=every), "injected-only")
    shut = filled(module, -20.0, "bias_ih", gate=1)
    assert found(measured(shut, loss=every), "injected-only")


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("detached", [False, True])
def test_a_loop_that_detaches_at_each_step(cell: type[nn.Module], *, detached: bool) -> None:
    module = made(cell)

    def run() -> torch.Tensor:
        state, loss = None, torch.zeros(())
        for x in data(6):
            state = module(x, state)
            parts = state if isinstance(state, tuple) else (state,)
            loss = loss + parts[0].square().sum()
            if detached:
                parts = tuple(part.detach() for part in parts)
            state = parts if isinstance(state, tuple) else parts[0]
        return loss

    flow = carousel.measure(module, run)
    assert bool(found(flow, "injected-only")) == detached


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("loss", [last, every])
def test_vanishing_is_not_this(kind: type[nn.Module], loss: object) -> None:
    assert not found(measured(made(kind, bidirectional=True), loss=loss), "injected-only", 50)


def test_one_step_could_carry_nothing() -> None:
    assert not found(measured(made(nn.RNN), data(1)), "injected-only", 5)
