"""A backward pass that is shorter than the lag."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, found, made, measured, only
from torch import nn

import carousel


def chunked(kind: type[nn.Module], steps: int, *, detached: bool) -> carousel.Flow:
    """60 steps in chunks, in one backward pass."""
    module = made(kind)

    def run() -> torch.Tensor:
        state, loss = None, torch.zeros(())
        for x in data(60).split(steps):
            output, state = module(x, state)
            loss = loss + output.square().sum()
            if detached:
                parts = state if isinstance(state, tuple) else (state,)
                parts = tuple(part.detach() for part in parts)
                state = parts if isinstance(state, tuple) else parts[0]
        return loss

    return carousel.measure(module, run)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
@pytest.mark.parametrize(("lag", "sick"), [(19, False), (20, True), (40, True)])
def test_detached_chunks_of_20(kind: type[nn.Module], lag: int, *, sick: bool) -> None:
    """20 steps hold two that are 19 apart, and none that are 20 apart."""
    findings = found(chunked(kind, 20, detached=True), "truncation", lag)
    assert bool(findings) == sick
    if sick:
        assert findings[0].severity == "error"
        assert findings[0].evidence["longest_piece_steps"] == 20
        assert "detached in between" in findings[0].sentence


def test_chunks_that_carry_the_gradient_are_one_piece() -> None:
    assert not found(chunked(nn.LSTM, 20, detached=False), "truncation", 59)


@pytest.mark.parametrize(("lag", "sick"), [(79, False), (80, True)])
def test_a_sequence_shorter_than_the_lag(lag: int, *, sick: bool) -> None:
    flow = measured(made(nn.GRU, num_layers=2, bidirectional=True), loss=every)
    findings = found(flow, "truncation", lag)
    assert len(findings) == (1 if sick else 0)  # one for the module, not for each layer
    if sick:
        assert "that is all that was measured" in findings[0].sentence


def test_without_a_lag_there_is_nothing_to_say() -> None:
    assert not found(chunked(nn.LSTM, 1, detached=True), "truncation")


def test_truncated_training_as_it_is_mostly_written() -> None:
    module = made(nn.LSTM)
    state = None
    with carousel.watch(module) as watcher:
        for x in data(60).split(20):
            output, state = module(x, state)
            output.square().sum().backward()
            state = tuple(part.detach() for part in state)
    assert only(watcher.flow, "truncation", 30).evidence["longest_piece_steps"] == 20
