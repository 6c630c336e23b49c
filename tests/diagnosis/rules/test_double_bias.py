"""Biases that were initialised in both b_ih and b_hh."""

from __future__ import annotations

import math

import pytest
import torch
from tests.diagnosis.models import data, every, filled, found, made, measured, only
from torch import nn

import carousel


def draws(units: int = 16, longest: float = 100.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(units).uniform_(1, longest - 1, generator=generator).log()


@torch.no_grad()
def chrono_in(module: nn.Module, *names: str, share: float = 1.0, same: bool = False) -> nn.Module:
    """ln u in the forget rows (a GRU: z), -ln u in the input rows, of the named biases."""
    gated = isinstance(module, nn.LSTM)
    filled(module, 0.0, "bias")
    for number, name in enumerate(names):
        log_u = share * draws(seed=0 if same else number)
        bias = getattr(module, name)
        if gated:
            bias[:16] = -log_u
        bias[16:32] = log_u
    return module


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM])
@pytest.mark.parametrize("bias", [1.0, -1.0, 5.0])
def test_a_constant_in_both(kind: type[nn.Module], bias: float) -> None:
    module = filled(made(kind), bias, "bias", gate=1)
    finding = only(measured(module), "double-forget-bias")
    assert finding.severity == "warning"
    assert finding.evidence["bias_total"] == 2 * bias


def test_the_numbers() -> None:
    finding = only(measured(filled(made(nn.LSTM), 1.0, "bias", gate=1)), "double-forget-bias")
    assert "stands at 0.881" in finding.sentence
    assert finding.evidence["horizon_steps"] == pytest.approx(7.88, abs=0.01)
    assert finding.evidence["horizon_if_once_steps"] == pytest.approx(3.19, abs=0.01)


def test_every_layer_and_direction_by_itself() -> None:
    module = made(nn.LSTM, num_layers=2, bidirectional=True)
    filled(module, 1.0, "bias", gate=1)
    findings = found(measured(module, loss=every), "double-forget-bias")
    assert [finding.layer for finding in findings] == ["l0", "l0_reverse", "l1", "l1_reverse"]


@pytest.mark.parametrize("rule", ["double-forget-bias", "double-chrono"])
def test_what_is_right(rule: str) -> None:
    for module in (
        made(nn.LSTM),
        made(nn.LSTM, bias=False),
        filled(made(nn.LSTM), 0.0, "bias"),
        filled(made(nn.LSTM), 1.0, "bias_ih", gate=1),  # b_hh as torch drew it
        carousel.init.forget_bias_(made(nn.LSTM), 1.0),
        carousel.init.chrono_(made(nn.LSTM), 100, torch.Generator().manual_seed(0)),
        carousel.init.chrono_(made(nn.GRU), 100, torch.Generator().manual_seed(0)),
        filled(filled(made(nn.LSTM), 1.0, "bias_ih", gate=1), 0.5, "bias_hh", gate=1),
        made(nn.RNN),
        made(nn.GRU),
    ):
        assert not found(measured(module), rule), module


def test_trained_zeros_are_no_double_bias() -> None:
    """Both biases get the same gradient: started equal they stay so, and nobody set them twice."""
    module, x = filled(made(nn.LSTM), 0.0, "bias"), data(20)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        module(x)[0].square().sum().backward()
        optimizer.step()
    assert torch.equal(module.bias_ih_l0, module.bias_hh_l0)
    assert not found(measured(module, x), "double-forget-bias")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("same", [False, True])
def test_chrono_in_both(kind: type[nn.Module], *, same: bool) -> None:
    module = chrono_in(made(kind), "bias_ih_l0", "bias_hh_l0", same=same)
    finding = only(measured(module), "double-chrono")
    assert finding.severity == "warning"
    total = float((module.bias_ih_l0 + module.bias_hh_l0).detach()[16:32].max())
    assert finding.evidence["horizon_steps"] == pytest.approx(math.exp(total), rel=1e-5)
    assert finding.evidence["horizon_if_once_steps"] < 100


@pytest.mark.parametrize("name", ["bias_ih_l0", "bias_hh_l0"])
def test_chrono_in_one_of_them(name: str) -> None:
    assert not found(measured(chrono_in(made(nn.LSTM), name)), "double-chrono")


def test_two_halves_add_up_to_one_chrono() -> None:
    module = chrono_in(made(nn.LSTM), "bias_ih_l0", "bias_hh_l0", share=0.5, same=True)
    assert not found(measured(module), "double-chrono")
    assert not found(measured(module), "double-chrono", 100)


def test_the_lag_tells_halves_from_wholes() -> None:
    """ln u in both, the same draws: right for a lag of 10 000, and twice too much for 100."""
    module = chrono_in(made(nn.LSTM), "bias_ih_l0", "bias_hh_l0", same=True)
    flow = measured(module)
    assert found(flow, "double-chrono", 100)
    assert not found(flow, "double-chrono", 10_000)


@pytest.mark.parametrize(("lag", "sick"), [(50, False), (500, True), (None, True)])
def test_two_halves_of_what_the_lag_takes(lag: int | None, *, sick: bool) -> None:
    """ln(49) in all, half of it in each bias: right for 50 steps."""
    module = filled(made(nn.LSTM), math.log(49) / 2, "bias_ih", "bias_hh", gate=1)
    assert bool(found(measured(module), "double-forget-bias", lag)) == sick
