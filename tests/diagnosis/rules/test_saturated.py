"""Saturated and shut gates; the ends at which a keeping gate belongs are no fault."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, filled, found, made, measured
from torch import nn

import carousel
from carousel.diagnosis import Finding

GATES = {"i": 0, "f": 1, "g": 2, "o": 3}


def by_gate(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {
        finding.sentence.split(" of ")[0].removeprefix("The gate "): finding for finding in findings
    }


def pushed(gate: str, bias: float, kind: type[nn.Module] = nn.LSTM) -> tuple[Finding, ...]:
    module = filled(made(kind), bias, "bias_ih", gate=GATES[gate])
    return found(measured(module, loss=every), "saturated")


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM])
@pytest.mark.parametrize(
    ("gate", "bias", "word"),
    [
        ("i", -8.0, "shut"),
        ("f", -8.0, "shut"),
        ("o", -8.0, "shut"),
        ("i", 8.0, "saturated"),
        ("o", 8.0, "saturated"),
        ("g", 8.0, "saturated"),
        ("f", 14.0, "saturated"),
    ],
)
def test_a_gate_pushed_to_its_end(gate: str, bias: float, word: str, kind: type[nn.Module]) -> None:
    findings = by_gate(pushed(gate, bias, kind))
    assert list(findings) == [gate]
    finding = findings[gate]
    assert finding.severity == "warning"
    assert f"({word} at" in finding.sentence
    assert finding.evidence["units_share"] == 1.0


@pytest.mark.parametrize(("gate", "bias"), [("i", -3.0), ("f", 6.5), ("o", 3.0), ("f", -3.0)])
def test_near_the_end_is_not_at_it(gate: str, bias: float) -> None:
    assert not pushed(gate, bias)


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM, nn.GRU, carousel.GRU])
@pytest.mark.parametrize("lag", [50, 1000])
def test_chrono_is_no_fault(kind: type[nn.Module], lag: int) -> None:
    module = carousel.init.chrono_(made(kind), lag, torch.Generator().manual_seed(0))
    assert not found(measured(module), "saturated", lag)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
def test_defaults_are_healthy(kind: type[nn.Module]) -> None:
    assert not found(measured(made(kind)), "saturated")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_inputs_that_are_far_too_large(kind: type[nn.Module]) -> None:
    """Every gate flips between its ends, from step to step."""
    findings = found(measured(made(kind), 300 * data(), every), "saturated")
    assert findings
    assert all(finding.severity == "warning" for finding in findings)


def test_some_units_are_a_remark() -> None:
    module = made(nn.LSTM)
    with torch.no_grad():
        module.bias_ih_l0[48:52] = -9.0  # a quarter of the output gates
    (finding,) = found(measured(module, loss=every), "saturated")
    assert finding.severity == "info"
    assert finding.evidence["units_share"] == 0.25


def test_one_unit_is_nothing() -> None:
    module = made(nn.LSTM)
    with torch.no_grad():
        module.bias_ih_l0[48] = -9.0
    assert not found(measured(module, loss=every), "saturated")


def test_a_relu_and_an_identity_have_no_ends() -> None:
    for nonlinearity in ("relu", "identity"):
        module = made(carousel.RNN, nonlinearity=nonlinearity)
        assert not found(measured(module, 300 * data(), every), "saturated")


def test_padding_does_not_count() -> None:
    """h is zero behind a sequence's end, which is no shut sigmoid."""
    module = made(carousel.RNN, nonlinearity="sigmoid")
    packed = nn.utils.rnn.pack_padded_sequence(data(), torch.tensor([80, 2, 1, 1]))
    flow = carousel.measure(module, lambda: module(packed)[0].data.sum())
    assert not found(flow, "saturated")
