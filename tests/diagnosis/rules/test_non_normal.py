"""Non-normal amplification: sigma_1 > 1 > rho."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, filled, found, made, measured, only
from torch import nn

import carousel
from carousel.diagnosis.rules._non_normal import _sigma_and_rho


def feed_forward_chain(strength: float, **options: object) -> carousel.Flow:
    """Unit k feeds unit k + 1: nilpotent, so rho = 0, and sigma_1 = strength."""
    module = made(carousel.RNN, nonlinearity="identity", **options)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("weight_hh"):
                parameter.copy_(torch.diag(torch.full((15,), strength), -1))
    return measured(module, data(20), every)


@pytest.mark.parametrize(("strength", "sick"), [(1.9, False), (2.1, True), (3.0, True)])
@pytest.mark.parametrize("both", [False, True])
def test_a_chain(strength: float, *, sick: bool, both: bool) -> None:
    findings = found(feed_forward_chain(strength, bidirectional=both), "non-normal")
    assert len(findings) == sick * (1 + both)
    if sick:
        assert findings[0].severity == "info"
        assert findings[0].evidence["largest_singular_value"] == pytest.approx(strength, rel=1e-5)
        assert findings[0].evidence["spectral_radius"] < 0.5


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_a_normal_matrix(gain: float) -> None:
    """Orthogonal: sigma_1 = rho, both above 1 or both below."""
    module = made(carousel.RNN, nonlinearity="identity")
    carousel.init.orthogonal_(module, gain, torch.Generator().manual_seed(0))
    assert not found(measured(module, data(20), every), "non-normal")


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
def test_defaults(kind: type[nn.Module]) -> None:
    assert not found(measured(made(kind)), "non-normal")


@pytest.mark.parametrize("layer", ["l0", "l0_reverse"])
def test_both_numbers_are_of_the_same_steps(layer: str) -> None:
    """The Jacobian of a single unit is a number, other at each step: sigma_1 = |rho|."""
    module = made(nn.RNN, units=1, bidirectional=True)
    sigma, rho = _sigma_and_rho(measured(module, data(20), every)[layer], 1)
    assert sigma == pytest.approx(rho, rel=1e-6)


def test_one_step_has_no_jacobian_to_look_at() -> None:
    assert not found(measured(made(nn.LSTM), data(1), every), "non-normal")


def test_a_function_as_a_cell() -> None:
    matrix = torch.tensor([[0.5, 4.0], [0.0, 0.5]])
    flow = carousel.measure_cell(
        lambda x, h: h @ matrix + x, torch.zeros(20, 2, 2), torch.ones(2, 2), lambda h: h[-1].sum()
    )
    assert only(flow, "non-normal").evidence["spectral_radius"] == pytest.approx(0.5, abs=0.01)


def test_numbers_beyond_all_measure_are_no_finding() -> None:
    """What is infinite is named by its own rule; the others have to live with it."""
    module = filled(made(nn.RNN, nonlinearity="relu"), 1e20, "weight_hh")
    flow = measured(module)
    assert "nonfinite" in {finding.rule for finding in carousel.diagnose(flow, 40)}
    assert not found(flow, "non-normal")
