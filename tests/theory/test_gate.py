"""Forget gates that stand still, powers and how long they take, against layers and on paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import carousel
from carousel import CarouselError, theory

FLOAT64 = torch.float64


def measured_cell(kind: type[nn.Module], bias: float, steps: int) -> carousel.flow.LayerFlow:
    """An LSTM with W_hh = 0 and W_ih = 0, whose forget gate has this bias; the loss is on c_n."""
    lstm = kind(1, 2).to(FLOAT64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
    carousel.init.forget_bias_(lstm, bias)
    x, h0 = torch.zeros(steps, 3, 1, dtype=FLOAT64), torch.zeros(1, 3, 2, dtype=FLOAT64)
    c0 = torch.ones(1, 3, 2, dtype=FLOAT64)
    return carousel.measure(lstm, lambda: lstm(x, (h0, c0))[1][1].sum())["l0"]


@pytest.mark.parametrize("kind", [nn.LSTM, carousel.LSTM])
@pytest.mark.parametrize("bias", [-1.5, 0.0, 1.0, math.log(99)])
def test_a_measured_cell_fades_as_the_gate_says(kind: type[nn.Module], bias: float) -> None:
    """d_c[t] = f^(T-1-t), and the measured horizon is that of the closed form."""
    steps = 40
    gate = theory.forget_gate(bias)
    layer = measured_cell(kind, bias, steps)
    expected = [10 ** gate.log10_after(steps - 1 - t) for t in range(steps)]
    for unit in layer.d_c.reshape(steps, -1).T:
        torch.testing.assert_close(unit, torch.tensor(expected, dtype=FLOAT64), rtol=1e-12, atol=0)
    assert float(layer.gates["f"][0, 0, 0]) == pytest.approx(gate.f, rel=1e-14)
    assert layer.horizon().steps == pytest.approx(gate.horizon_steps, rel=1e-9)
    assert layer.horizon().half_life == pytest.approx(gate.half_life_steps, rel=1e-9)


@pytest.mark.parametrize("bias", [-3.0, 0.0, 1.0, 5.0])
def test_the_gate_agrees_with_autograd(bias: float) -> None:
    c0 = torch.ones((), dtype=FLOAT64, requires_grad=True)
    c = c0
    for _ in range(25):
        c = torch.sigmoid(torch.tensor(bias, dtype=FLOAT64)) * c
    c.backward()
    assert 10 ** theory.forget_gate(bias).log10_after(25) == pytest.approx(float(c0.grad))


def test_keras_unit_forget_bias() -> None:
    """Keras #16151: ratios of .73 a step are sigmoid(1), a horizon of 3.2 steps."""
    gate = theory.forget_gate(1.0)
    assert round(gate.f, 3) == 0.731
    assert round(gate.horizon_steps, 1) == 3.2
    for words in ("bias of 1 in all", "f = 0.7311", "1/e in 3.19 steps", "halves in 2.21"):
        assert words in str(gate)


def test_torch_default_is_about_one_and_a_half_steps() -> None:
    gate = theory.forget_gate(0.0)
    assert gate.f == 0.5
    assert gate.half_life_steps == 1.0


@pytest.mark.parametrize(("lag", "shown"), [(10, "9.49"), (100, "99.50"), (1000, "999.50")])
def test_chrono(lag: int, shown: str) -> None:
    """b_f = ln(T - 1) gives f = 1 - 1/T."""
    gate = theory.forget_gate(theory.chrono_bias(lag))
    assert gate.f == pytest.approx(1 - 1 / lag, rel=1e-14)
    assert f"{gate.horizon_steps:.2f}" == shown


@pytest.mark.parametrize("horizon", [1e-3, 0.3, 1.0, 3.2, 100.0, 1e6, 1e15, 1e200])
def test_bias_for_horizon_is_the_inverse(horizon: float) -> None:
    bias = theory.bias_for_horizon(horizon)
    # A bias of 460 is rounded to 6e-14, which is that much of e^bias.
    rounding = 1e-14 * max(1.0, abs(bias)) * 4
    assert theory.forget_gate(bias).horizon_steps == pytest.approx(horizon, rel=rounding)


def test_a_layer_set_to_a_horizon_has_it() -> None:
    layer = measured_cell(nn.LSTM, theory.bias_for_horizon(50.0), 60)
    assert layer.horizon().steps == pytest.approx(50.0, rel=1e-9)


def test_gates_at_the_ends_of_float64() -> None:
    """f rounds to 1 at b = 40, and to 0 at b = -800, and the horizon is exact all the same."""
    assert theory.forget_gate(40.0).f == 1.0
    assert theory.forget_gate(40.0).horizon_steps == pytest.approx(math.exp(40.0), rel=1e-12)
    assert theory.forget_gate(-800.0).f == 0.0
    assert theory.forget_gate(-800.0).horizon_steps == pytest.approx(1 / 800, rel=1e-12)
    assert theory.forget_gate(800.0).horizon_steps == math.inf


def test_the_multipliers_of_the_seeds() -> None:
    assert f"{10 ** theory.log10_power(0.5, 20):.1e}" == "9.5e-07"
    assert theory.log10_power(1.0, 20) == 0.0
    assert round(10 ** theory.log10_power(2.0, 20)) == 1_048_576
    assert f"{10 ** theory.log10_power(0.5, 10):.1e}" == "9.8e-04"
    assert theory.log10_power(0.1, 400) == pytest.approx(-400.0)
    assert theory.log10_power(0.0, 1) == -math.inf
    assert theory.log10_power(0.0, 0) == 0.0
    assert round(10 ** theory.log10_power(0.9, 50), 3) == 0.005


def test_steps_until() -> None:
    assert theory.steps_until(0.9, 0.1) == 22  # truncation at 22 steps leaves less than 10 %
    assert theory.steps_until(0.5, 0.5**20) == 20
    assert theory.steps_until(2.0, 2.0**20) == 20
    assert theory.steps_until(2.0, 2.0**20 + 1) == 21
    assert theory.steps_until(0.5, 1.0) == 0
    assert theory.steps_until(0.99999, 0.5) == math.ceil(math.log(0.5) / math.log(0.99999))


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.73, 0.99, 1.01, 1.7, 10.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_steps_until_is_exact_at_the_powers_themselves(factor: float, steps: int) -> None:
    """The float below a power needs one step more than the float above it, or as many."""
    power = factor**steps
    toward = math.copysign(math.inf, math.log(factor))
    beyond, before = math.nextafter(power, toward), math.nextafter(power, 1.0)
    for _ in range(steps):  # a power is rounded at each step
        beyond, before = math.nextafter(beyond, max(toward, 0)), math.nextafter(before, 1.0)
    assert theory.steps_until(factor, before) == steps
    assert theory.steps_until(factor, beyond) == steps + 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.forget_gate(math.nan), "bias.*finite number; got nan"),
        (lambda: theory.forget_gate(1.0).log10_after(-2), "steps.*got -2"),
        (lambda: theory.bias_for_horizon(0.0), "horizon.*above 0; got 0"),
        (lambda: theory.chrono_bias(1.0), "lag.*above 1; got 1"),
        (lambda: theory.log10_power(math.inf, 3), "factor.*got inf"),
        (lambda: theory.steps_until(0.5, 2.0), "falls from 1 and never comes to 2"),
        (lambda: theory.steps_until(2.0, 0.5), "grows from 1 and never comes to 0.5"),
        (lambda: theory.steps_until(1.0, 0.5), "stays at 1"),
        (lambda: theory.steps_until(-1.0, 0.5), "factor.*above 0"),
    ],
)
def test_what_is_refused(call: object, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        call()
