"""Vanishing is judged at the lag that the task needs, by a rate per step."""

from __future__ import annotations

import math
import re

import pytest
import torch
from tests.diagnosis.models import data, every, found, last, made, measured, only, scaled
from torch import nn

import carousel

LSTMS = (nn.LSTM, carousel.LSTM)


def diagonal(weight: float, steps: int = 60) -> carousel.Flow:
    """A linear unit whose gradient is weight^lag, exactly."""
    rnn = carousel.RNN(1, 1, bias=False, nonlinearity="identity").double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(weight)
    return measured(rnn, torch.ones(steps, 2, 1, dtype=torch.float64))


@pytest.mark.parametrize("kind", [*LSTMS, nn.GRU, carousel.GRU, nn.RNN, carousel.RNN])
@pytest.mark.parametrize("loss", [last, every])
def test_torch_defaults_do_not_reach_50_steps(kind: type[nn.Module], loss: object) -> None:
    finding = only(measured(made(kind), loss=loss), "vanishing", 50)
    assert finding.severity == "error"
    assert finding.evidence["horizon_steps"] < 5
    assert "your task needs 50" in finding.sentence
    assert finding.sentence.startswith("The gradient halves every ")


@pytest.mark.parametrize("kind", [*LSTMS, nn.GRU, carousel.GRU])
def test_chrono_reaches_its_lag(kind: type[nn.Module]) -> None:
    module = carousel.init.chrono_(made(kind), 50, torch.Generator().manual_seed(0))
    assert not found(measured(module), "vanishing", 50)


@pytest.mark.parametrize("kind", LSTMS)
def test_the_headline_names_cause_need_and_gain(kind: type[nn.Module]) -> None:
    """The gate, the need, and what chrono gives: which is what applying it then gives."""
    module = made(kind, units=48)
    x = data(300)
    finding = only(measured(module, x), "vanishing", 200)
    assert re.search(r"because the forget gates sit at 0\.(49|50|51);", finding.sentence)
    assert "your task needs 200" in finding.sentence
    assert "chrono initialisation gives a horizon of" in finding.sentence
    foreseen = finding.evidence["chrono_horizon_steps"]
    carousel.init.chrono_(module, 200, torch.Generator().manual_seed(0))
    assert measured(module, x)["l0"].horizon().steps == pytest.approx(foreseen, rel=0.3)
    assert foreseen > 20 * finding.evidence["horizon_steps"]


def test_the_numbers_of_a_known_rate() -> None:
    finding = only(diagonal(0.5), "vanishing", 20)
    assert finding.evidence["rate_per_step"] == pytest.approx(math.log(0.5), rel=1e-9)
    assert finding.evidence["half_life_steps"] == pytest.approx(1.0, rel=1e-9)
    assert finding.evidence["left_at_lag_log10"] == pytest.approx(math.log10(9.5367e-7), rel=1e-5)
    assert "spectral radius 0.5" in finding.sentence
    assert finding.threshold == -3.0


@pytest.mark.parametrize(
    ("left", "severity"),
    [(1.05e-1, None), (0.95e-1, "warning"), (1.05e-3, "warning"), (0.95e-3, "error")],
)
def test_the_thresholds(left: float, severity: str | None) -> None:
    """A tenth and a thousandth, from both sides."""
    findings = found(diagonal(left ** (1 / 40)), "vanishing", 40)
    assert [finding.severity for finding in findings] == ([] if severity is None else [severity])


def test_a_short_lag_is_met_by_a_short_horizon() -> None:
    flow = measured(made(nn.LSTM))
    assert not found(flow, "vanishing", 3)
    assert found(flow, "vanishing", 20)


def test_without_a_lag_it_is_a_remark() -> None:
    finding = only(measured(made(nn.LSTM)), "vanishing")
    assert finding.severity == "info"
    assert "over the 79 steps that were measured" in finding.sentence
    assert not found(measured(carousel.init.chrono_(made(nn.LSTM), 80)), "vanishing")


def test_one_layer_that_reaches_the_lag_is_enough_for_a_stack() -> None:
    stack = made(nn.LSTM, num_layers=2)
    with torch.no_grad():  # the upper layer remembers
        rows = slice(16, 32)
        stack.bias_ih_l1[rows], stack.bias_hh_l1[rows] = 5.0, 0.0
    finding = only(measured(stack), "vanishing", 40)
    assert (finding.layer, finding.severity) == ("l0", "info")
    assert "Another layer of the stack reaches that far" in finding.sentence


def test_each_direction_answers_for_itself() -> None:
    both = made(nn.LSTM, bidirectional=True)
    with torch.no_grad():
        both.bias_ih_l0[16:32], both.bias_hh_l0[16:32] = 5.0, 0.0
    finding = only(measured(both, loss=every), "vanishing", 40)
    assert (finding.layer, finding.severity) == ("l0_reverse", "error")


def test_exactly_zero_is_said_as_such() -> None:
    finding = only(measured(scaled(made(nn.RNN), 0.0), loss=every), "vanishing", 10)
    assert "exactly zero from 1 step back" in finding.sentence
    assert finding.evidence["left_at_lag_log10"] == -math.inf


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_module_without_biases_has_no_chrono_to_offer(kind: type[nn.Module]) -> None:
    finding = only(measured(made(kind, bias=False)), "vanishing", 50)
    assert "chrono" not in finding.sentence


@pytest.mark.parametrize("variant", ["peephole", "cifg", "nig", "nog", "noaf"])
def test_variants(variant: str) -> None:
    module = made(carousel.LSTM, variant=variant)
    finding = only(measured(module), "vanishing", 50)
    assert finding.severity == "error"
    assert "forget gates" in finding.sentence
    assert finding.evidence["chrono_horizon_steps"] > 10


def test_a_cell_of_1997_keeps_all() -> None:
    module = made(carousel.LSTM, variant="1997", gradient="1997")
    x = data()
    flow = carousel.measure(module, lambda: module(x)[1][1].sum())
    assert not found(flow, "vanishing", 70)


def test_projections_and_reverse_and_ragged_batches() -> None:
    module = made(nn.LSTM, proj_size=8, bidirectional=True)
    lengths = torch.tensor([80, 70, 60, 50])
    packed = nn.utils.rnn.pack_padded_sequence(data(), lengths)
    flow = carousel.measure(module, lambda: module(packed)[0].data.square().sum())
    findings = found(flow, "vanishing", 30)
    assert [finding.layer for finding in findings] == ["l0", "l0_reverse"]
    assert all(finding.evidence["chrono_horizon_steps"] > 5 for finding in findings)


def test_a_function_as_a_cell_has_a_rate_and_no_cause() -> None:
    x = torch.zeros(40, 2, 3, dtype=torch.float64)
    state = torch.ones(2, 3, dtype=torch.float64)
    flow = carousel.measure_cell(lambda x, h: 0.5 * h + x, x, state, lambda h: h[-1].sum())
    finding = only(flow, "vanishing", 30)
    assert "because" not in finding.sentence
    assert finding.evidence["rate_per_step"] == pytest.approx(math.log(0.5), rel=1e-6)


def test_a_module_beside_it_that_reaches_the_lag_is_no_excuse() -> None:
    """Two encoders: what one remembers does not help the other."""
    kept, gone = made(nn.LSTM), made(nn.LSTM, seed=1)
    carousel.init.forget_bias_(kept, 6.0)
    model = nn.ModuleDict({"kept": kept, "gone": gone})
    flow = carousel.measure(
        model, lambda: sum(module(data())[0][-1].square().sum() for module in model.values())
    )
    finding = only(flow, "vanishing", 40)
    assert (finding.layer, finding.severity) == ("gone.l0", "error")


def test_gates_that_are_no_numbers_are_not_the_cause() -> None:
    x = data()
    x[10:, 0] = float("nan")
    said = only(measured(made(nn.LSTM), x, loss=every), "vanishing", 40).sentence
    assert "forget gates sit at 0.50" in said
