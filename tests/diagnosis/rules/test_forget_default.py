"""The forget gate at its default, and the sentence that keras#16151 never got."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import filled, found, made, measured, only
from torch import nn

import carousel


def unit_forget(kind: type[nn.Module]) -> nn.Module:
    """Keras: b_f = 1 in one bias, all others zero."""
    module = filled(made(kind), 0.0, "bias")
    return filled(module, 1.0, "bias_ih", gate=1)


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM])
def test_keras_16151(kind: type[nn.Module]) -> None:
    finding = only(measured(unit_forget(kind)), "forget-gate-default")
    assert finding.severity == "info"
    assert "sigma(1) = 0.731 (unit forget bias)" in finding.sentence
    assert "its horizon is 3.2 steps" in finding.sentence
    assert "keras#16151" in finding.source
    assert finding.evidence["factor_per_step"] == pytest.approx(0.7310586, rel=1e-6)
    assert finding.evidence["horizon_steps"] == pytest.approx(3.19, abs=0.01)


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM])
def test_torch(kind: type[nn.Module]) -> None:
    finding = only(measured(made(kind)), "forget-gate-default", 50)
    assert finding.severity == "warning"
    assert "sigma(-0.05) = 0.488 (PyTorch's default)" in finding.sentence
    assert "at the 50 that your task needs" in finding.sentence


def test_without_biases_the_gate_is_at_a_half() -> None:
    assert found(measured(made(nn.LSTM, bias=False)), "forget-gate-default")


@pytest.mark.parametrize("kind", [nn.GRU, carousel.GRU])
def test_the_update_gate_of_a_gru(kind: type[nn.Module]) -> None:
    assert "update gates" in only(measured(made(kind)), "forget-gate-default", 50).sentence


def test_cifg_keeps_by_1_minus_i() -> None:
    flow = measured(made(carousel.LSTM, variant="cifg"))
    assert "(1 - i)" in only(flow, "forget-gate-default", 50).sentence


@pytest.mark.parametrize("value", [-2.0, 2.0, 5.0])
def test_a_bias_that_somebody_chose(value: float) -> None:
    module = carousel.init.forget_bias_(made(nn.LSTM), value)
    assert not found(measured(module), "forget-gate-default", 50)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_chrono(kind: type[nn.Module]) -> None:
    module = carousel.init.chrono_(made(kind), 50, torch.Generator().manual_seed(0))
    assert not found(measured(module), "forget-gate-default", 50)


def test_a_lag_that_the_default_meets() -> None:
    assert not found(measured(made(nn.LSTM)), "forget-gate-default", 2)


def test_a_default_bias_that_the_inputs_override() -> None:
    """The gate is held open by its input weights: the bias says nothing of where it stands."""
    module = filled(made(nn.LSTM), 3.0, "weight_ih", gate=1)
    assert not found(measured(module, torch.ones(60, 4, 3)), "forget-gate-default", 50)


@pytest.mark.parametrize("kind", [nn.RNN, carousel.RNN])
def test_a_simple_rnn_has_no_such_gate(kind: type[nn.Module]) -> None:
    assert not found(measured(made(kind)), "forget-gate-default", 50)


def test_a_bias_between_the_defaults_is_none_of_them() -> None:
    """1.3 is not the unit forget bias: its horizon is 4.1 steps, not 3.2."""
    module = carousel.init.forget_bias_(made(nn.LSTM), 1.3)
    assert not found(measured(module), "forget-gate-default", 50)
