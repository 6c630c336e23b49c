"""Orthogonal initialisation of the stack instead of each gate's block."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import every, found, made, measured, only
from torch import nn

import carousel


def stacked(kind: type[nn.Module], gain: float = 1.0, **options: object) -> nn.Module:
    module = made(kind, **options)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for name, parameter in module.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter, gain)
    return module


@pytest.mark.parametrize("gain", [1.0, 0.3])
@pytest.mark.parametrize(
    ("kind", "gates"), [(nn.LSTM, 4), (carousel.LSTM, 4), (nn.GRU, 3), (carousel.GRU, 3)]
)
def test_the_stack(kind: type[nn.Module], gates: int, gain: float) -> None:
    """EVIDENCE: blocks of rms singular value 1 / sqrt(G), 0.5 for an LSTM."""
    finding = only(measured(stacked(kind, gain), loss=every), "stacked-orthogonal")
    assert finding.severity == "warning"
    assert finding.evidence["block_singular_value_rms"] == pytest.approx(gain / gates**0.5, 1e-5)


def test_a_little_training_does_not_hide_it() -> None:
    module = stacked(nn.LSTM)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(module.weight_hh_l0.shape, generator=generator)
        module.weight_hh_l0.add_(0.003 * noise)
    assert found(measured(module, loss=every), "stacked-orthogonal")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("units", [4, 16, 64])
def test_by_gate_and_by_torch(kind: type[nn.Module], units: int) -> None:
    right = carousel.init.orthogonal_(
        made(kind, units=units), 1.0, torch.Generator().manual_seed(0)
    )
    for module in (right, made(kind, units=units)):
        assert not found(measured(module, loss=every), "stacked-orthogonal")


def test_a_simple_rnn_has_one_block() -> None:
    assert not found(measured(stacked(nn.RNN), loss=every), "stacked-orthogonal")


def test_a_single_unit_is_orthogonal_by_chance() -> None:
    assert not found(measured(made(nn.LSTM, units=1), loss=every), "stacked-orthogonal")
