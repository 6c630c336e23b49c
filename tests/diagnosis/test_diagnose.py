"""diagnose: the order of what is found, what it refuses, and what holds for all rules together."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from tests.diagnosis.models import data, every, filled, made, measured, scaled
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import ClippingRecord, Finding
from carousel.diagnosis._cures import CURES, FITS, cures_of
from carousel.diagnosis._subject import subject_of
from carousel.diagnosis.rules import RULES

HEALTHY = {
    "chrono LSTM": lambda: carousel.init.chrono_(made(nn.LSTM), 60, gen()),
    "chrono GRU": lambda: carousel.init.chrono_(made(nn.GRU, num_layers=2), 60, gen()),
    "own chrono LSTM": lambda: carousel.init.chrono_(made(carousel.LSTM), 60, gen()),
    "IRNN": lambda: carousel.init.identity_(made(nn.RNN, nonlinearity="relu")),
}


def gen() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def sick() -> carousel.Flow:
    """Several things at once: vanishing, a double bias, underflow."""
    module = filled(made(nn.LSTM, num_layers=2), -2.0, "bias", gate=1)
    return measured(module, data(120))


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_in_what_is_healthy(name: str) -> None:
    findings = carousel.diagnose(measured(HEALTHY[name](), 0.3 * data()), 60)
    assert not [finding for finding in findings if finding.severity != "info"], findings


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
@pytest.mark.parametrize("loss", [every, lambda h: h[-1].sum()])
def test_without_a_lag_no_default_has_an_error(kind: type[nn.Module], loss: object) -> None:
    module = made(kind, num_layers=2, bidirectional=True)
    assert all(f.severity == "info" for f in carousel.diagnose(measured(module, loss=loss)))


def test_the_worst_comes_first() -> None:
    severities = [finding.severity for finding in carousel.diagnose(sick(), 100)]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert set(severities) == {"error", "warning", "info"}


def test_findings_are_the_same_each_time() -> None:
    assert carousel.diagnose(sick(), 100) == carousel.diagnose(sick(), 100)


def test_a_finding_has_all_that_belongs_to_it() -> None:
    for finding in carousel.diagnose(sick(), 100):
        assert finding.rule in RULES
        assert finding.layer in ("l0", "l1")
        assert re.match(r"[A-Z0-9].*\.$", finding.sentence)
        assert finding.source
        assert all(isinstance(value, float) for value in finding.evidence.values())
        assert str(finding) == f"{finding.severity}: {finding.layer}: {finding.sentence}"
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.rule = "other"  # type: ignore[misc]


def test_each_rule_has_its_row_of_remedies() -> None:
    assert CURES.keys() == RULES.keys()

    assert FITS.keys() <= {name for names in CURES.values() for name in names}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (nn.LSTM, ("chrono", "forget-bias", "orthogonal", "flossing", "omega")),
        (nn.GRU, ("chrono", "orthogonal", "flossing", "omega")),
        (nn.RNN, ("orthogonal", "identity", "lstm", "flossing", "omega")),
        (carousel.RNN, ("orthogonal", "identity", "lstm", "flossing", "omega")),
    ],
)
@pytest.mark.parametrize("both", [False, True])
def test_the_remedies_fit_the_layer(
    kind: type[nn.Module], names: tuple[str, ...], *, both: bool
) -> None:
    flow = measured(made(kind, bidirectional=both), loss=every)
    found = [f for f in carousel.diagnose(flow, 50) if f.rule == "vanishing"]
    assert len(found) == 1 + both
    for finding in found:
        assert cures_of(finding, subject_of(flow, 50, None, None)) == names


def test_a_module_without_biases_has_none_to_set() -> None:
    flow = measured(made(nn.LSTM, bias=False))
    (finding,) = (f for f in carousel.diagnose(flow, 50) if f.rule == "vanishing")
    assert cures_of(finding, subject_of(flow, 50, None, None)) == (
        "orthogonal",
        "flossing",
        "omega",
    )


def test_a_flow_is_not_changed_by_being_judged() -> None:
    flow = sick()
    before = {name: layer.d_h.clone() for name, layer in flow.layers.items()}
    carousel.diagnose(flow, 100)
    assert all(torch.equal(flow[name].d_h, d_h) for name, d_h in before.items())


def test_scaling_the_loss_changes_no_finding() -> None:
    """Rates and ratios, never norms: but underflow, which is about the range of the dtype."""

    def sentences(factor: float) -> list[tuple[str, str, str]]:
        module = made(nn.LSTM, num_layers=2)
        flow = measured(module.double(), data().double(), lambda h: factor * h[-1].square().sum())
        return [(f.rule, f.layer, f.sentence) for f in carousel.diagnose(flow, 50)]

    assert sentences(1.0) == sentences(1e-9) == sentences(1e9)
    assert sentences(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.RNN, carousel.LSTM])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1), (9, 1)])
def test_any_shape(shape: tuple[int, int], kind: type[nn.Module], dtype: torch.dtype) -> None:
    module = made(kind, units=3, bidirectional=True).to(dtype)
    findings = carousel.diagnose(measured(module, data(*shape).to(dtype), every), 5)
    assert [f.layer for f in findings if f.rule == "truncation"] == ["l0"] * (shape[0] <= 5)


def test_layers_that_cannot_be_told_apart_by_name_are_judged_each() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reader = made(nn.LSTM)
            self.writer = made(nn.GRUCell)

        def forward(self) -> torch.Tensor:
            h = self.reader(data(30))[1][0][0]
            for x in data(30):
                h = self.writer(x, h)
            return h.sum()

    model = Two()
    findings = carousel.diagnose(carousel.measure(model, model), 25)
    vanishing = {finding.layer for finding in findings if finding.rule == "vanishing"}
    assert vanishing == {"reader.l0", "writer"}


@pytest.mark.parametrize("lag", [0, -1, 2.5, True, "200", math.inf])
def test_a_lag_that_is_none(lag: object) -> None:
    with pytest.raises(CarouselError, match="number of steps that the task needs"):
        carousel.diagnose(sick(), lag)  # type: ignore[arg-type]


def test_what_is_no_flow() -> None:
    with pytest.raises(CarouselError, match="Expected a Flow to diagnose, got an LSTM"):
        carousel.diagnose(nn.LSTM(1, 1))  # type: ignore[arg-type]
    with pytest.raises(CarouselError, match="ClippingRecord"):
        carousel.diagnose(sick(), clipping=1.0)  # type: ignore[arg-type]


def test_public_names() -> None:
    assert carousel.Finding is Finding
    assert carousel.Remedy.__abstractmethods__ == {"apply", "code", "sentence"}
    (clipped,) = (
        finding
        for finding in carousel.diagnose(
            measured(scaled(made(nn.RNN), 1.0)), clipping=ClippingRecord(1e-3, [1.0] * 10)
        )
        if finding.layer == ""
    )
    assert str(clipped).startswith("warning: Clipping at")


def test_what_all_calls_of_a_module_have_in_common_is_said_once() -> None:
    module = made(nn.LSTM)

    def run() -> Tensor:  # four chunks, each from zeros
        return sum(module(chunk)[0].square().sum() for chunk in data(80).split(20))

    findings = carousel.diagnose(carousel.measure(module, run), 15)
    assert [finding.rule for finding in findings].count("vanishing") == 1
    (vanishing,) = (finding for finding in findings if finding.rule == "vanishing")
    assert vanishing.layer == "l0#1"
    assert vanishing.sentence.endswith("Found in 3 other calls of it too.")


@pytest.mark.parametrize("lag", [np.int64(20), torch.tensor(20)])
def test_a_lag_may_be_any_whole_number(lag: object) -> None:
    flow = measured(made(nn.LSTM))
    assert carousel.diagnose(flow, lag) == carousel.diagnose(flow, 20)
