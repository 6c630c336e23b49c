"""Contraction: largest singular value times steepest slope below 1, whatever the input."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import every, found, made, measured, only
from torch import nn

import carousel


def times_orthogonal(
    gain: float, kind: type[nn.Module] = nn.RNN, **options: object
) -> carousel.Flow:
    module = carousel.init.orthogonal_(
        made(kind, **options), gain, torch.Generator().manual_seed(0)
    )
    return measured(module, loss=every)


@pytest.mark.parametrize("kind", [nn.RNN, carousel.RNN])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_small_weight(kind: type[nn.Module], nonlinearity: str) -> None:
    finding = only(times_orthogonal(0.5, kind, nonlinearity=nonlinearity), "contraction", 50)
    assert finding.severity == "error"
    assert finding.evidence["factor_per_step"] == pytest.approx(0.5, rel=1e-5)
    assert finding.evidence["left_at_most_log10"] == pytest.approx(-15.05, abs=0.01)


@pytest.mark.parametrize("gain", [1.001, 1.5])
def test_no_proof_no_finding(gain: float) -> None:
    assert not found(times_orthogonal(gain), "contraction", 50)


def test_torch_default_has_a_singular_value_above_1() -> None:
    """It vanishes, but not for every input: the bound proves nothing."""
    assert not found(measured(made(nn.RNN, units=32)), "contraction", 50)


@pytest.mark.parametrize(("weight", "sick"), [(3.9, True), (4.1, False)])
def test_a_scalar_sigmoid_unit(weight: float, *, sick: bool) -> None:
    """sigma' <= 1/4: |w| < 4 always vanishes."""
    rnn = carousel.RNN(1, 1, nonlinearity="sigmoid")
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(weight)
    flow = measured(rnn, torch.ones(200, 1, 1), every)
    assert bool(found(flow, "contraction", 150)) == sick


@pytest.mark.parametrize(
    ("lag", "severity"), [(None, "info"), (2, None), (6, "warning"), (20, "error")]
)
def test_it_is_held_against_the_lag(lag: int | None, severity: str | None) -> None:
    findings = found(times_orthogonal(0.6), "contraction", lag)
    assert [finding.severity for finding in findings] == ([] if severity is None else [severity])


def test_gated_cells_have_other_ways() -> None:
    for kind in (nn.LSTM, nn.GRU):
        assert not found(times_orthogonal(0.1, kind), "contraction", 50)
