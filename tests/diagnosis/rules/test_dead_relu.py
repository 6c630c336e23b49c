"""Dead relu units: zero at every step of every sequence."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, found, made, measured, only
from torch import nn

import carousel


def with_dead(units: int, kind: type[nn.Module] = nn.RNN) -> carousel.Flow:
    module = made(kind, nonlinearity="relu")
    with torch.no_grad():
        module.bias_ih_l0[:units] = -100.0
    return measured(module, loss=every)


@pytest.mark.parametrize("kind", [nn.RNN, carousel.RNN])
@pytest.mark.parametrize(
    ("units", "severity"), [(0, None), (1, None), (2, "warning"), (15, "warning"), (16, "error")]
)
def test_by_share(units: int, severity: str | None, kind: type[nn.Module]) -> None:
    """A tenth of 16 is 1.6."""
    findings = found(with_dead(units, kind), "dead-relu")
    assert [finding.severity for finding in findings] == ([] if severity is None else [severity])
    if findings:
        assert findings[0].evidence["dead_units"] == units


def test_the_identity_start_is_alive() -> None:
    module = carousel.init.identity_(made(nn.RNN, nonlinearity="relu"))
    assert not found(measured(module, loss=every), "dead-relu")


def test_a_unit_that_fires_once_is_alive() -> None:
    x = torch.zeros(40, 1, 3)
    x[7] = 1.0
    module = made(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        module.weight_ih_l0.fill_(1.0)
        module.weight_hh_l0.zero_()
        module.bias_ih_l0.fill_(-1.0)
        module.bias_hh_l0.zero_()
    assert not found(measured(module, x, every), "dead-relu")
    assert only(measured(module, 0 * x, every), "dead-relu").severity == "error"


def test_too_few_states_say_nothing() -> None:
    module = made(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        module.bias_ih_l0.fill_(-100.0)
    assert not found(measured(module, data(7, 4), every), "dead-relu")


def test_other_cells_have_no_relu() -> None:
    assert not found(measured(made(nn.RNN)), "dead-relu")
