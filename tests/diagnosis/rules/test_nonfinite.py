"""Values that are not finite, with their place."""

from __future__ import annotations

import math

import pytest
import torch
from tests.diagnosis.models import data, every, found, made, measured, only
from torch import nn

import carousel


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, carousel.GRU])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_in_the_input(kind: type[nn.Module], value: float) -> None:
    x = data()
    x[5, 2, 1] = value
    finding = only(measured(made(kind, num_layers=2), x, every), "nonfinite")
    assert (finding.severity, finding.layer) == ("error", "l0")
    assert finding.evidence["step"] == 5
    assert finding.evidence["sequence"] == 2
    assert "forward pass at step 5, sequence 2, in x" in finding.sentence


def test_in_the_backward_pass() -> None:
    module, x = made(nn.RNN), data()

    def run() -> torch.Tensor:
        output, _ = module(x)
        return (output[40].sum() * math.inf).sum()

    assert "backward pass at step 40" in only(carousel.measure(module, run), "nonfinite").sentence


def test_a_finite_flow() -> None:
    assert not found(measured(made(nn.LSTM), 1e6 * data()), "nonfinite")


def test_all_other_rules_bear_with_it() -> None:
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        module = made(kind, num_layers=2)
        with torch.no_grad():
            module.weight_hh_l0.fill_(math.nan)
        findings = carousel.diagnose(measured(module, loss=every), 50)
        assert findings[0].rule == "nonfinite"
        assert {finding.rule for finding in findings if finding.severity == "error"} <= {
            "nonfinite",
            "axes",
        }
