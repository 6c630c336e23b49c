"""Answers that are known on paper: EVIDENCE, "Known answers", and the numbers of the seeds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import carousel

FLOAT64 = torch.float64


def linear_chain(w: float, *, dtype: torch.dtype = FLOAT64) -> nn.RNN:
    """x_t = w x_{t-1} as an nn.RNN: relu on the positive half line is the identity."""
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False).to(dtype)
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(w)
        rnn.weight_ih_l0.zero_()
    return rnn


def forget_only(f_bias: float, *, hidden: int = 3) -> nn.LSTM:
    """An LSTM with W_hh = 0 and W_ih = 0: the forget gate is the constant sigmoid(f_bias)."""
    lstm = nn.LSTM(1, hidden).to(FLOAT64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0[hidden : 2 * hidden] = f_bias / 2  # there are two biases: they add up
        lstm.bias_hh_l0[hidden : 2 * hidden] = f_bias / 2
    return lstm


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def run_chain(w: float, steps: int, *, dtype: torch.dtype = FLOAT64) -> carousel.Flow:
    rnn = linear_chain(w, dtype=dtype)
    x, h0 = torch.zeros(steps, 1, 1, dtype=dtype), torch.ones(1, 1, 1, dtype=dtype)

    def loss() -> torch.Tensor:
        return rnn(x, h0)[0][-1].sum()

    return carousel.measure(rnn, loss)


def measure_c(lstm: nn.LSTM, steps: int, batch: int = 2) -> object:
    x = torch.zeros(steps, batch, 1, dtype=FLOAT64)
    state = (
        torch.zeros(1, batch, lstm.hidden_size, dtype=FLOAT64),
        torch.ones(1, batch, lstm.hidden_size, dtype=FLOAT64),
    )

    def loss() -> torch.Tensor:
        return lstm(x, state)[1][1].sum()

    return carousel.measure(lstm, loss)["l0"]


def test_doubling_chain() -> None:
    """x_t = 2 x_{t-1}, loss on the last of three steps. Nearly every tool shows [0, 0, 1]."""
    layer = run_chain(2.0, 3)["l0"]
    assert layer.d_h.flatten().tolist() == [4.0, 2.0, 1.0]
    assert layer.d_h_injected.flatten().tolist() == [0.0, 0.0, 1.0]
    assert layer.d_h0.flatten().tolist() == [8.0]
    assert layer.h.flatten().tolist() == [2.0, 4.0, 8.0]
    assert layer.certificate == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_powers_of_two_are_exact(dtype: torch.dtype) -> None:
    """2^20 = 1 048 576 and 0.5^20 = 9.5e-7, without any rounding."""
    growing, decaying = run_chain(2.0, 21, dtype=dtype), run_chain(0.5, 21, dtype=dtype)
    assert float(growing["l0"].d_h[0]) == 1_048_576.0
    assert float(decaying["l0"].d_h[0]) == 0.5**20
    assert f"{float(decaying['l0'].d_h[0]):.1e}" == "9.5e-07"


@pytest.mark.parametrize("f", [0.1, 0.5, 0.9, 0.99])
def test_constant_forget_gate(f: float) -> None:
    """W_hh = 0, constant f: dc_T/dc_0 = f^T, exponent ln f."""
    steps = 40
    layer = measure_c(forget_only(logit(f)), steps)
    expected = torch.tensor([f ** (steps - 1 - t) for t in range(steps)], dtype=FLOAT64)
    for b in range(2):
        for unit in range(3):
            torch.testing.assert_close(layer.d_c[:, b, unit], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        layer.d_c0, torch.full_like(layer.d_c0, f**steps), rtol=1e-12, atol=0
    )
    horizon = layer.horizon()
    assert horizon.kind == "decaying"
    assert horizon.rate == pytest.approx(math.log(f), rel=1e-9)
    assert horizon.steps == pytest.approx(-1 / math.log(f), rel=1e-9)
    assert horizon.half_life == pytest.approx(math.log(2) / -math.log(f), rel=1e-9)


def test_1997_cell_alone_carries_the_error_unchanged() -> None:
    """f = 1 exactly (sigmoid(1000) in float64): dc_T/dc_0 = 1 exactly, over 500 steps."""
    layer = measure_c(forget_only(1000.0), 500)
    assert (layer.gates["f"] == 1.0).all()
    assert (layer.d_c == 1.0).all()
    assert (layer.d_c0 == 1.0).all()
    assert (layer.log10_norm("d_c") == math.log10(3) / 2).all()
    horizon = layer.horizon()
    assert horizon.kind == "level"
    assert horizon.rate == 0.0
    assert horizon.steps is None


@pytest.mark.parametrize(("steps", "shown"), [(10, 9.49), (100, 99.50), (1000, 999.50)])
def test_chrono_initialisation(steps: int, shown: float) -> None:
    """b_f = ln(T - 1) gives f = 1 - 1/T: horizon 9.49, 99.50, 999.50."""
    layer = measure_c(forget_only(math.log(steps - 1)), 60)
    assert float(layer.gates["f"][0, 0, 0]) == pytest.approx(1 - 1 / steps, rel=1e-12)
    assert round(layer.horizon().steps, 2) == shown


def test_keras_16151() -> None:
    """Cell gradient ratios of .73 per step are sigmoid(1): unit forget bias, 3.2 steps."""
    layer = measure_c(forget_only(1.0), 40)
    ratios = layer.norm("d_c")[:-1] / layer.norm("d_c")[1:]
    assert ratios.min() == pytest.approx(0.7311, abs=1e-4)
    assert ratios.max() == pytest.approx(0.7311, abs=1e-4)
    assert layer.horizon().steps == pytest.approx(3.2, abs=0.01)


def test_truncation_needs_22_steps_at_f_of_0_9() -> None:
    """The gradient k steps back is .9^k: under 10 % of it is left from K = 22 on."""
    layer = measure_c(forget_only(logit(0.9)), 40)
    norms = layer.norm("d_c")[:, 0] / layer.norm("d_c")[-1, 0]
    for k in (1, 10, 21, 22, 30):
        assert float(norms[39 - k]) == pytest.approx(0.9**k, rel=1e-12)
    below = [k for k in range(40) if float(norms[39 - k]) < 0.1]
    assert below[0] == 22


def orthogonal_rnn(a: float, hidden: int) -> nn.RNN:
    """A scaled permutation: orthogonal, and positive, so that relu is the identity all along."""
    rnn = nn.RNN(1, hidden, nonlinearity="relu", bias=False).to(FLOAT64)
    with torch.no_grad():
        rnn.weight_ih_l0.zero_()
        rnn.weight_hh_l0.copy_(a * torch.eye(hidden, dtype=FLOAT64).roll(1, 0))
    return rnn


@pytest.mark.parametrize(("a", "kind"), [(0.8, "decaying"), (1.0, "level"), (1.25, "growing")])
def test_scaled_orthogonal_linear_rnn(a: float, kind: str) -> None:
    """Every singular value of ds_T/ds_{T-k} is a^k: rate ln a."""
    hidden, steps = 5, 50
    rnn = orthogonal_rnn(a, hidden)
    x, h0 = torch.zeros(steps, 3, 1, dtype=FLOAT64), torch.rand(1, 3, hidden, dtype=FLOAT64) + 0.1
    w = torch.rand(hidden, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: 2 * (w * rnn(x, h0)[0][-1]).sum())["l0"]
    norms = layer.jacobian_norms()
    expected = norms.lags.to(FLOAT64).unsqueeze(1).expand(-1, 3) * math.log10(a)
    torch.testing.assert_close(norms.log10, expected, rtol=1e-12, atol=1e-12)
    frobenius = layer.jacobian_norms("frobenius").log10
    torch.testing.assert_close(frobenius, expected + math.log10(hidden) / 2, rtol=1e-12, atol=1e-12)
    horizon = layer.horizon()
    assert horizon.kind == kind
    assert horizon.rate == pytest.approx(math.log(a), abs=1e-12)
    low, high = horizon.rate_interval
    assert low - 1e-12 <= math.log(a) <= high + 1e-12


def test_default_forget_gate_of_torch_sits_at_one_half() -> None:
    """nn.LSTM as it is drawn: gates around 0.5, a horizon of about two steps."""
    torch.manual_seed(0)
    lstm = nn.LSTM(8, 64)
    x = torch.randn(60, 8, 8)
    layer = carousel.measure(lstm, lambda: lstm(x)[0].square().sum())["l0"]
    assert float(layer.gates["f"].mean()) == pytest.approx(0.5, abs=0.02)
    assert 1 < layer.horizon().steps < 3
