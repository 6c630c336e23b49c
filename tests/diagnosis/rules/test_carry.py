"""A state that is detached, or not handed on, between calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.diagnosis.models import data, found, made, measured, only
from torch import Tensor, nn

import carousel

State = tuple[Tensor, ...]


def in_chunks(between: Callable[[State], object], steps: int = 10) -> carousel.Flow:
    module = made(nn.LSTM, num_layers=2)

    def run() -> Tensor:
        state, loss = None, torch.zeros(())
        for x in data(40).split(steps):
            output, after = module(x, state)
            loss, state = loss + output.square().sum(), between(after)
        return loss

    return carousel.measure(module, run)


def detach(state: State) -> State:
    return tuple(part.detach() for part in state)


def test_detached_within_a_backward_pass() -> None:
    finding = only(in_chunks(detach), "carry")
    assert finding.severity == "warning"
    assert "detached before step 10, 20, 30" in finding.sentence
    assert finding.evidence == {"cuts": 3.0, "longest_piece_steps": 10.0}


def test_pieces_that_are_long_enough_for_the_lag() -> None:
    assert only(in_chunks(detach), "carry", 9).severity == "info"
    assert not found(in_chunks(detach), "carry", 10)  # "truncation" says it, as an error


def test_one_part_of_the_state() -> None:
    assert found(in_chunks(lambda state: (state[0], state[1].detach())), "carry")


def test_handed_on_as_it_is() -> None:
    assert not found(in_chunks(lambda state: state), "carry", 39)


def test_calls_that_each_start_anew() -> None:
    finding = only(in_chunks(lambda _: None), "carry")
    assert finding.severity == "info"  # they may be sequences of their own
    assert "called 4 times" in finding.sentence
    assert only(in_chunks(lambda _: None), "carry", 10).severity == "warning"
    assert only(in_chunks(lambda _: None), "carry", 9).severity == "info"


def test_set_to_zero_in_all_sequences() -> None:
    findings = found(in_chunks(lambda state: tuple(0 * part for part in state)), "carry")
    (finding,) = (each for each in findings if "zero again" in each.sentence)
    assert finding.severity == "warning"
    assert finding.evidence["resets"] == 3
    assert "at step 10, 20, 30" in finding.sentence


def test_episodes_that_end_in_some_sequences() -> None:
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0]).unsqueeze(-1)
    assert not found(in_chunks(lambda state: tuple(mask * part for part in state)), "carry")


def test_single_steps_that_each_start_anew() -> None:
    assert only(in_chunks(lambda _: None, 1), "carry").severity == "warning"


def test_one_call() -> None:
    assert not found(measured(made(nn.LSTM)), "carry", 100)


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM])
def test_truncated_training_is_a_remark(kind: type[nn.Module]) -> None:
    module, state = made(kind), None
    with carousel.watch(module) as watcher:
        for x in data(20).split(10):
            output, state = module(x, state)
            output.square().sum().backward()
            state = detach(state)
    finding = only(watcher.flow, "carry")
    assert finding.severity == "info"
    assert "came detached from an earlier call" in finding.sentence
