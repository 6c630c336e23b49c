"""Layers of a stack that starve the ones below."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import every, filled, found, last, made, measured, only, scaled
from torch import nn

import carousel


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
@pytest.mark.parametrize("loss", [last, every])
def test_tiny_input_weights(kind: type[nn.Module], loss: object) -> None:
    module = scaled(made(kind, num_layers=3), 1e-5, "weight_ih_l2")
    finding = only(measured(module, loss=loss), "starved")
    assert (finding.layer, finding.severity) == ("l1", "warning")
    assert "l2's gates" in finding.sentence


def test_shut_gates_above() -> None:
    module = made(nn.LSTM, num_layers=2)
    with torch.no_grad():
        module.bias_ih_l1[:16] = -20.0  # i: the cell takes nothing in
    assert only(measured(module, loss=every), "starved").layer == "l0"


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("loss", [last, every])
def test_defaults_feed_all_layers(kind: type[nn.Module], loss: object) -> None:
    module = made(kind, num_layers=3, bidirectional=True)
    assert not found(measured(module, loss=loss), "starved")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_slow_gates_give_little_at_each_step_and_enough_in_all(kind: type[nn.Module]) -> None:
    module = carousel.init.chrono_(made(kind, num_layers=2), 80, torch.Generator().manual_seed(0))
    assert not found(measured(module), "starved")


def test_small_gradients_are_not_starved_ones() -> None:
    """A ratio, never a norm by itself."""
    flow = measured(made(nn.LSTM, num_layers=2), loss=lambda h: 1e-20 * h[-1].sum())
    assert not found(flow, "starved")


def test_a_single_layer_starves_nobody() -> None:
    assert not found(measured(filled(made(nn.LSTM), 0.0, "weight_ih")), "starved")
