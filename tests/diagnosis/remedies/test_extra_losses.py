"""Omega and flossing: their gradients against finite differences and against what is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.diagnosis.remedied import inputs, model_of, output_of
from torch import Tensor, nn

import carousel
from carousel.diagnosis.remedies._flossing import flossing_gradient
from carousel.flow import LayerFlow, omega_gradient
from carousel.flow._tangent import tangent_of

STEP = 1e-6
CLOSE = (
    1e-6  # central differences of step 1e-6 in float64: rounding 1e-16 / 1e-6, of a value near 1
)
NAMES = [
    *("LSTM", "LSTM deep", "LSTM projected", "GRU", "RNN", "RNN deep", "RNN relu", "own peephole"),
    *("own cifg", "own 1997", "own sigmoid", "LSTMCell"),
]


def layers_of(name: str, steps: int = 12) -> list[LayerFlow]:
    net, x = model_of(name, torch.float64), inputs(steps).double()
    generator = torch.Generator().manual_seed(7)
    output = output_of(net, x)
    weights = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    flow = carousel.measure(net, lambda: (weights * output_of(net, x)).sum())
    return list(flow.layers.values())


def nudged(tensor: Tensor, direction: Tensor, by: float) -> Tensor:
    return tensor + by * direction


@pytest.mark.parametrize("name", NAMES)
def test_omegas_gradient_with_states_and_totals_held(name: str) -> None:
    for layer in layers_of(name):
        trace = layer.trace
        value, gradient = omega_gradient(trace)
        assert value == pytest.approx(float(layer.omega().total.mean()), rel=1e-9)
        # With boundaries, other weights would show as a state that was changed in between.
        trace = replace(trace, boundaries=(), handed_over=trace.handed_over[:0])
        w_hh = trace.weights.w_hh
        direction = torch.randn(w_hh.shape, generator=torch.Generator().manual_seed(1)).double()
        ends = []
        for sign in (1, -1):
            weights = replace(trace.weights, w_hh=nudged(w_hh, direction, sign * STEP))
            ends.append(float(LayerFlow(replace(trace, weights=weights)).omega().total.mean()))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        found = float((gradient * direction).sum())
        assert abs(found) > 1e-3
        assert found == pytest.approx(slope, rel=CLOSE, abs=CLOSE)


def test_omegas_gradient_of_one_unit_by_hand() -> None:
    """ratio = |w f'|, so dOmega/dw = sum of 2 (|w f'| - 1) f' sign(w), f' = 1 - h_{t+1}^2."""
    rnn = nn.RNN(1, 1).double()
    x = torch.randn(6, 1, 1, generator=torch.Generator().manual_seed(2)).double()
    flow = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())
    h = flow["l0"].h.flatten()
    w = float(rnn.weight_hh_l0.detach())
    slope = 1 - h[1:] ** 2
    by_hand = (2 * ((abs(w) * slope) - 1) * slope * math.copysign(1, w)).sum()
    value, gradient = omega_gradient(flow["l0"].trace)
    assert float(gradient) == pytest.approx(float(by_hand), rel=1e-12)
    assert value == pytest.approx(float(((abs(w) * slope) - 1).square().sum()), rel=1e-12)


def test_omega_of_one_step_and_of_a_truncated_gradient_is_nothing() -> None:
    value, gradient = omega_gradient(layers_of("LSTM", 1)[0].trace)
    assert value == 0.0
    assert not gradient.any()
    lstm = carousel.LSTM(2, 3, gradient="1997")
    flow = carousel.measure(lstm, lambda: lstm(torch.ones(4, 1, 2))[0].sum())
    assert not omega_gradient(flow["l0"].trace)[1].any()


def test_omega_of_a_gradient_beyond_the_range_of_the_dtype() -> None:
    """0.01 a step over 400 steps: the totals end at 1e-800, the ratios are all 0.01."""
    rnn = carousel.RNN(1, 1, nonlinearity="identity", bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(0.01)
    flow = carousel.measure(rnn, lambda: rnn(torch.ones(401, 1, 1).double())[0][-1].sum())
    value, gradient = omega_gradient(flow["l0"].trace)
    assert value == pytest.approx(400 * 0.99**2, rel=1e-12)
    assert float(gradient) == pytest.approx(400 * 2 * (0.01 - 1), rel=1e-12)


def by_jacobians(layer: LayerFlow, count: int) -> tuple[Tensor, Tensor]:
    """Return the exponents by the Jacobians written by hand, and where all directions live."""
    tangent = tangent_of(layer.trace, torch.float64)
    draws = torch.randn(
        tangent.size, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    q = torch.linalg.qr(draws)[0].expand(tangent.batch, -1, -1)
    logs = torch.zeros(tangent.batch, count, dtype=torch.float64)
    alive = torch.ones(tangent.batch, dtype=torch.bool)
    for t in range(tangent.steps):
        q, r = torch.linalg.qr(tangent.jacobian(t) @ q)
        size = r.diagonal(dim1=-2, dim2=-1).abs()
        logs += size.log()
        alive &= (size > 1e-13).all(-1)
    return logs / tangent.steps, alive


@pytest.mark.parametrize("name", [name for name in NAMES if name != "LSTM deep"])
def test_flossings_exponents_and_gradient(name: str) -> None:
    """The exponents are those of the spectrum; the gradient is that of nudged models, run anew."""
    count = 2
    net, x = model_of(name, torch.float64), inputs(20).double()

    if name == "RNN relu":
        with torch.no_grad():
            net.rnn.bias_ih_l0.add_(1.0)  # most units on

    def measured() -> carousel.Flow:
        return carousel.measure(net, lambda: output_of(net, x).sum())

    layer = next(iter(measured().layers.values()))
    lambdas, gradients = flossing_gradient(layer.trace, count)
    every, alive = by_jacobians(layer, count)
    assert bool(alive.any())
    torch.testing.assert_close(lambdas, every[alive], rtol=1e-9, atol=1e-9)
    # The spectrum may take the directions in another order; the volume that they span is the same.
    spectrum = layer.spectrum(count, transient=0).by_sequence[alive]
    torch.testing.assert_close(lambdas.sum(-1), spectrum.sum(-1), rtol=1e-6, atol=1e-8)
    generator = torch.Generator().manual_seed(1)
    suffix = "" if name == "LSTMCell" else "_l0"
    from carousel.diagnosis.remedies._stepping import PARAMETERS

    module = getattr(net, "cell", None) or net.rnn
    directions = {
        key: torch.randn(gradient.shape, generator=generator).double()
        for key, gradient in gradients.items()
    }
    found = sum(float((gradients[key] * directions[key]).sum()) for key in gradients)
    ends = []
    for sign in (1, -2):
        with torch.no_grad():
            for key, direction in directions.items():
                getattr(module, PARAMETERS[key] + suffix).add_(sign * STEP * direction)
        trace = next(iter(measured().layers.values())).trace
        ends.append(float(flossing_gradient(trace, count)[0].square().mean()))
    slope = (ends[0] - ends[1]) / (2 * STEP)
    assert {"w_ih", "w_hh", "b_ih", "b_hh"} <= set(gradients)
    assert abs(found) > 1e-3
    assert found == pytest.approx(slope, rel=CLOSE, abs=CLOSE)


def test_a_sequence_in_which_a_direction_dies_does_not_count() -> None:
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(0.5)
        rnn.weight_ih_l0.fill_(1.0)
    x = torch.tensor([1.0, -9.0]).double().expand(6, -1).unsqueeze(-1)
    flow = carousel.measure(rnn, lambda: rnn(x)[0].sum())
    lambdas, gradients = flossing_gradient(flow["l0"].trace, 1)
    assert lambdas.tolist() == [[pytest.approx(math.log(0.5))]]
    assert float(gradients["w_hh"]) == pytest.approx(2 * math.log(0.5) / 0.5)
    dead = carousel.measure(rnn, lambda: rnn(x[:, 1:])[0].sum() + 0 * rnn(x)[0].sum())
    lambdas, gradients = flossing_gradient(next(iter(dead.layers.values())).trace, 1)
    assert lambdas.shape == (0, 1)
    assert gradients == {}


def test_flossing_of_the_first_sequences_alone() -> None:
    trace = layers_of("LSTM")[0].trace
    assert flossing_gradient(trace, 2, 3)[0].shape == (3, 2)
    assert torch.equal(flossing_gradient(trace, 2, 3)[0], flossing_gradient(trace, 2)[0][:3])


def test_flossing_of_one_linear_unit_is_known() -> None:
    """lambda = ln |w|, so the gradient of its square is 2 ln|w| / w."""
    rnn = carousel.RNN(1, 1, nonlinearity="identity", bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(0.5)
    flow = carousel.measure(rnn, lambda: rnn(torch.ones(9, 2, 1).double())[0][-1].sum())
    lambdas, gradients = flossing_gradient(flow["l0"].trace, 5)
    assert lambdas.tolist() == [[pytest.approx(math.log(0.5))]] * 2
    assert float(gradients["w_hh"]) == pytest.approx(2 * math.log(0.5) / 0.5)
