"""The product over one unit, against autograd, against measured layers, and on paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import carousel
from carousel import CarouselError, theory

FLOAT64 = torch.float64
FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda a: a,
}
DRIVE = torch.randn(12, generator=torch.Generator().manual_seed(3), dtype=FLOAT64).tolist()


def autograd_chain(w: float, name: str, h0: float, drive: list[float]) -> list[torch.Tensor]:
    """The states of the loop, each a leaf of the graph that leads on to the later ones."""
    states = [torch.tensor(h0, dtype=FLOAT64, requires_grad=True)]
    for u in drive:
        states.append(FUNCTIONS[name](w * states[-1] + u))
        states[-1].retain_grad()
    return states


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("w", [-2.5, -0.4, 0.7, 1.0, 3.0])
def test_product_agrees_with_autograd(name: str, w: float) -> None:
    product = theory.scalar_product(w, len(DRIVE), name, initial=0.3, drive=DRIVE)
    states = autograd_chain(w, name, 0.3, DRIVE)
    states[-1].backward()
    expected = torch.stack([state.grad for state in states])
    torch.testing.assert_close(product.states, torch.stack(states).detach())
    torch.testing.assert_close(product.log10_to_end, expected.abs().log10(), rtol=1e-12, atol=1e-12)
    assert product.sign == int(expected[0].sign())


def test_from_start_agrees_with_autograd() -> None:
    product = theory.scalar_product(1.7, len(DRIVE), "tanh", initial=-0.2, drive=DRIVE)
    states = autograd_chain(1.7, "tanh", -0.2, DRIVE)
    expected = [torch.autograd.grad(h, states[0], retain_graph=True)[0] for h in states]
    torch.testing.assert_close(
        product.log10_from_start, torch.stack(expected).abs().log10(), rtol=1e-12, atol=1e-12
    )
    assert product.rate == pytest.approx(math.log(abs(float(expected[-1]))) / len(DRIVE))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_product_agrees_with_finite_differences(name: str) -> None:
    def last(h0: float) -> float:
        return float(theory.scalar_product(1.3, 2, name, initial=h0, drive=0.2).states[-1])

    slope = (last(0.4 + 1e-5) - last(0.4 - 1e-5)) / 2e-5
    product = theory.scalar_product(1.3, 2, name, initial=0.4, drive=0.2)
    assert 10 ** float(product.log10_to_end[0]) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((nn.RNN, name) for name in ("tanh", "relu")),
        *((carousel.RNN, name) for name in ("sigmoid", "tanh", "relu", "identity")),
    ],
)
def test_a_measured_layer_has_the_same_gradients(kind: type[nn.Module], name: str) -> None:
    """d_h of a loss on the last output is dh_n/dh_t, for torch's layer and Carousel's own."""
    w, steps = 1.4, 30
    rnn = kind(1, 1, nonlinearity=name, bias=False).to(FLOAT64)
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(w)
        rnn.weight_ih_l0.fill_(1.0)
    drive = (0.3 * torch.randn(steps, generator=torch.Generator().manual_seed(5))).double()
    drive = drive.abs() if name == "relu" else drive
    x, h0 = drive.reshape(steps, 1, 1), torch.full((1, 1, 1), 0.5, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x, h0)[0][-1].sum())["l0"]
    product = theory.scalar_product(w, steps, name, initial=0.5, drive=drive.tolist())
    torch.testing.assert_close(
        layer.log10_norm("d_h").flatten(), product.log10_to_end[1:], rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(layer.h.flatten(), product.states[1:], rtol=1e-10, atol=1e-12)
    assert math.log10(float(layer.d_h0.abs())) == pytest.approx(float(product.log10_to_end[0]))


def test_powers_of_the_seeds() -> None:
    halving = theory.scalar_product(0.5, 20, "identity", initial=1.0)
    doubling = theory.scalar_product(2.0, 20, "identity", initial=1.0)
    level = theory.scalar_product(1.0, 20, "identity", initial=1.0)
    assert float(halving.states[-1]) == 0.5**20
    assert f"{10 ** float(halving.log10_to_end[0]):.1e}" == "9.5e-07"
    assert round(10 ** float(doubling.log10_to_end[0])) == 1_048_576
    assert (level.log10_to_end == 0).all()


@pytest.mark.parametrize("w", [-3.99, -1.0, 0.5, 1.5434, 3.99])
def test_a_sigmoid_unit_below_four_always_vanishes(w: float) -> None:
    """sigma' <= 1/4: each factor is below |w| / 4, far beyond the range of float64."""
    product = theory.scalar_product(w, 10_000, "sigmoid", initial=0.1)
    assert (product.log10_factors <= math.log10(abs(w) / 4)).all()
    assert -math.inf < float(product.log10_to_end[0]) < -43 * (abs(w) < 3.99)
    assert float(product.log10_to_end[0]) < -5


def test_a_saturated_unit_still_has_a_number() -> None:
    """sigma'(-1000) = e^-1000 and tanh'(1000) = 4 e^-2000, where a float would hold zero."""
    sigmoid = theory.scalar_product(1.0, 1, "sigmoid", drive=-1000.0)
    tanh = theory.scalar_product(1.0, 1, "tanh", drive=1000.0)
    assert float(sigmoid.log10_to_end[0]) == pytest.approx(-1000 / math.log(10), rel=1e-14)
    expected = (math.log(4) - 2000) / math.log(10)
    assert float(tanh.log10_to_end[0]) == pytest.approx(expected, rel=1e-14)


def test_exact_zeros() -> None:
    dead = theory.scalar_product(1.0, 3, "relu", drive=[1.0, -5.0, 1.0])
    assert dead.log10_to_end.tolist() == [-math.inf, -math.inf, 0.0, 0.0]
    assert dead.sign == 0
    cut = theory.scalar_product(0.0, 2, "tanh")
    assert cut.log10_to_end.tolist() == [-math.inf, -math.inf, 0.0]


def test_no_step_at_all() -> None:
    product = theory.scalar_product(2.0, 0)
    assert product.states.tolist() == [0.0]
    assert product.log10_to_end.tolist() == [0.0]
    assert product.sign == 1
    assert math.isnan(product.rate)


def test_the_largest_factor_of_the_sigmoid() -> None:
    best = theory.largest_factor("sigmoid")
    assert round(best.weight, 4) == 1.5434
    assert round(best.factor, 3) == 0.224
    assert best.weight * math.tanh(best.weight / 2) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
@pytest.mark.parametrize("state", [1.0, 0.3, -0.8])
def test_the_largest_factor_is_the_largest(name: str, state: float) -> None:
    """Against a grid of weights, whose factors come from autograd."""
    best = theory.largest_factor(name, state)
    w = torch.linspace(-20, 20, 80_001, dtype=FLOAT64)
    h = torch.full_like(w, state, requires_grad=True)
    FUNCTIONS[name](w * h).sum().backward()
    factors = h.grad.abs()
    assert float(factors.max()) <= best.factor <= float(factors.max()) * (1 + 1e-6)
    assert abs(float(w[factors.argmax()])) == pytest.approx(abs(best.weight), abs=1e-3)
    at = theory.scalar_product(best.weight, 1, name, initial=state)
    assert 10 ** float(at.log10_to_end[0]) == pytest.approx(best.factor, rel=1e-12)


def test_the_forget_gate_of_the_seed() -> None:
    """w = 10 and x = 1: sigmoid(10) = 0.99995, where the simple unit has at most 0.224."""
    assert round(theory.forget_gate(10.0).f, 5) == 0.99995


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.scalar_product(1.0, 3, "swish"), "'swish'.*sigmoid, tanh, relu, identity"),
        (lambda: theory.scalar_product(math.nan, 3), "weight.*finite number; got nan"),
        (lambda: theory.scalar_product(1.0, -1), "steps.*0 or more; got -1"),
        (lambda: theory.scalar_product(1.0, 2.5), "whole number of steps"),
        (lambda: theory.scalar_product(1.0, 3, drive=[1.0]), "one number or 3.*got 1"),
        (lambda: theory.scalar_product(1.0, 3, drive=math.inf), "drive.*got inf"),
        (lambda: theory.scalar_product(1.0, 3, initial="a"), "initial.*got 'a'"),
        (lambda: theory.largest_factor("relu"), "slope of relu does not fall"),
        (lambda: theory.largest_factor("tanh", 0.0), r"with h = 0 the factor is \|w\| s'\(0\)"),
    ],
)
def test_what_is_refused(call: object, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        call()
