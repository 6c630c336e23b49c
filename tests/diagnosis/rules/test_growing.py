"""Growing: by the rate over the measured steps, with both thresholds from both sides."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import found, made, measured, only, scaled
from torch import nn

import carousel


def powers(growth: float, steps: int = 41) -> carousel.Flow:
    """A linear unit whose gradient grows to ``growth`` over all steps."""
    rnn = carousel.RNN(1, 1, bias=False, nonlinearity="identity").double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(growth ** (1 / (steps - 1)))
    return measured(rnn, torch.zeros(steps, 2, 1, dtype=torch.float64), lambda h: (h[-1] + 1).sum())


@pytest.mark.parametrize(
    ("growth", "severity"), [(9.5, None), (10.5, "warning"), (950, "warning"), (1050, "error")]
)
def test_the_thresholds(growth: float, severity: str | None) -> None:
    findings = found(powers(growth), "growing")
    assert [finding.severity for finding in findings] == ([] if severity is None else [severity])


def test_the_numbers_of_a_doubling_chain() -> None:
    """2^20 = 1 048 576, the seeds' own number."""
    finding = only(powers(2.0**20, 21), "growing")
    assert finding.evidence["doubling_steps"] == pytest.approx(1.0, rel=1e-9)
    assert 10 ** finding.evidence["growth_log10"] == pytest.approx(1048576, rel=1e-6)
    assert "doubles every 1 steps" in finding.sentence


@pytest.mark.parametrize("kind", [nn.RNN, carousel.RNN])
def test_a_relu_rnn_with_large_weights(kind: type[nn.Module]) -> None:
    model = scaled(made(kind, nonlinearity="relu", units=24), 4.0)
    assert only(measured(model), "growing").severity == "error"


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, carousel.LSTM])
def test_defaults_do_not_grow(kind: type[nn.Module]) -> None:
    assert not found(measured(made(kind)), "growing", 50)


def test_a_loss_at_every_step_is_not_growth() -> None:
    """d_h adds up the losses of all steps; each one's own share does not grow."""
    model = carousel.init.identity_(made(carousel.RNN, nonlinearity="identity"), 0.99)
    flow = measured(model, torch.zeros(80, 4, 3), lambda h: (h + 1).sum())
    norm = flow["l0"].norm("d_h")[:, 0]
    assert norm[0] > 10 * norm[-1]
    assert not found(flow, "growing")


def test_over_cuts_nothing_grows() -> None:
    """Ten steps of 1.1 at a time make 2.4, whatever 200 of them would make."""
    rnn = carousel.RNN(1, 1, bias=False, nonlinearity="identity").double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(1.1)

    def run(steps: int) -> torch.Tensor:
        state, loss = None, torch.zeros(())
        for x in torch.ones(200, 2, 1, dtype=torch.float64).split(steps):
            output, state = rnn(x, state)
            loss, state = loss + output.sum(), state.detach()
        return loss

    assert not found(carousel.measure(rnn, lambda: run(10)), "growing")
    finding = only(carousel.measure(rnn, lambda: run(100)), "growing")
    assert "over 99 steps" in finding.sentence
