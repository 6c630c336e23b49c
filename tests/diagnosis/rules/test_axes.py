"""Time and batch swapped: what a flow shows of it, and what it cannot show."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, found, last, made, measured, only
from torch import nn

import carousel


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
def test_batch_first_forgotten(kind: type[nn.Module]) -> None:
    """[B, T, I] into a layer that takes [T, B, I]; the user picks the last step of each sample."""
    module = made(kind, num_layers=2)
    flow = measured(module, data(4, 60), lambda output: output[:, -1].square().sum())
    finding = only(flow, "axes")
    assert (finding.layer, finding.severity) == ("l1", "error")
    assert "4 steps of 60 sequences" in finding.sentence


def test_batch_first_where_it_does_not_belong() -> None:
    module = made(nn.LSTM, batch_first=True)
    flow = measured(module, data(60, 4), last)
    assert only(flow, "axes").severity == "error"
    assert not found(measured(module, data(4, 60), lambda h: h[:, -1].square().sum()), "axes")


@pytest.mark.parametrize("loss", [last, every])
def test_the_right_way_round(loss: object) -> None:
    assert not found(measured(made(nn.LSTM), loss=loss), "axes", 79)


def test_one_sequence_is_no_sign() -> None:
    assert not found(measured(made(nn.LSTM), data(60, 1), every), "axes", 59)


def test_a_loss_on_another_sequence_alone_is_no_sign() -> None:
    flow = measured(made(nn.LSTM), loss=lambda output: output[:, 0].sum())
    assert not found(flow, "axes")


def test_one_step_of_the_last_sequence_is_no_sign() -> None:
    flow = measured(made(nn.LSTM), loss=lambda output: output[-1, -1].sum())
    assert not found(flow, "axes")


def test_a_lag_that_fits_the_batch_and_not_the_steps() -> None:
    flow = measured(made(nn.LSTM), data(8, 60), every)
    assert only(flow, "axes", 50).severity == "warning"
    assert not found(flow, "axes", 7)
    assert not found(flow, "axes", 60)


def test_two_dimensions_are_one_sequence() -> None:
    module = made(nn.LSTM)
    x = torch.randn(30, 3)
    flow = carousel.measure(module, lambda: module(x)[0].square().sum())
    finding = only(flow, "axes")
    assert finding.severity == "info"
    assert "one sequence of 30 steps" in finding.sentence


def test_a_loop_over_an_unbatched_cell() -> None:
    """One sequence, a step a call: the sequence is as long as the loop, on purpose."""
    cell = made(nn.LSTMCell)

    def run() -> torch.Tensor:
        state = None
        for x in data(5, 1)[:, 0]:
            state = cell(x, state)
        return state[0].sum()

    assert not found(carousel.measure(cell, run), "axes")


def test_of_two_sequences_the_last_may_just_be_the_one_with_labels() -> None:
    flow = measured(made(nn.LSTM), data(60, 2), lambda output: output[:, -1].square().sum())
    assert only(flow, "axes").severity == "warning"
