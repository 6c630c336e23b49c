"""The bound by the largest singular value, against measured Jacobian products."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import carousel
from carousel import CarouselError, theory

FLOAT64 = torch.float64


def scaled_matrix(sigma: float, hidden: int = 6) -> Tensor:
    """A random matrix with this largest singular value."""
    w = torch.randn(hidden, hidden, dtype=FLOAT64, generator=torch.Generator().manual_seed(1))
    return w * (sigma / torch.linalg.matrix_norm(w, 2))


def measured(w: Tensor, nonlinearity: str, steps: int = 40) -> Tensor:
    """log10 of the spectral norm of the Jacobian product by lag [L, B]."""
    hidden = len(w)
    rnn = carousel.RNN(2, hidden, nonlinearity=nonlinearity).to(FLOAT64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(w)
    x = torch.randn(steps, 3, 2, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x)[0].square().sum())["l0"]
    return layer.jacobian_norms().log10


@pytest.mark.parametrize(
    ("nonlinearity", "gamma"), [("sigmoid", 0.25), ("tanh", 1.0), ("relu", 1.0), ("identity", 1.0)]
)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_no_measured_product_is_above_the_bound(
    nonlinearity: str, gamma: float, share: float
) -> None:
    torch.manual_seed(0)
    w = scaled_matrix(share / gamma)
    bound = theory.vanishes(w, nonlinearity)
    assert bound
    assert bound.factor == pytest.approx(share, rel=1e-12)
    found = measured(w, nonlinearity)
    limit = torch.tensor([bound.log10_after(k) for k in range(len(found))], dtype=FLOAT64)
    assert (found <= limit[:, None] + 1e-10).all()
    assert found[-1].max() < 0


def test_the_bound_is_met_where_the_slope_is_the_largest() -> None:
    """tanh at 0 with an orthogonal matrix: the product is (gamma sigma_1)^k itself."""
    w = 0.9 * torch.linalg.qr(scaled_matrix(1.0))[0]
    rnn = carousel.RNN(1, len(w), bias=False).to(FLOAT64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(w)
    x = torch.zeros(30, 1, 1, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())["l0"]
    bound = theory.vanishes(rnn.weight_hh_l0)
    limit = torch.tensor([bound.log10_after(k) for k in range(30)], dtype=FLOAT64)
    torch.testing.assert_close(layer.jacobian_norms().log10[:, 0], limit, rtol=1e-10, atol=1e-10)


def test_sufficient_and_not_necessary() -> None:
    """[[0, 10], [0, 0]]: sigma_1 = 10, and yet the second power is zero."""
    bound = theory.vanishes([[0.0, 10.0], [0.0, 0.0]], "identity")
    assert not bound
    assert "sufficient and not necessary" in str(bound)
    w = torch.tensor([[0.0, 10.0], [0.0, 0.0]], dtype=FLOAT64)
    assert (measured(w, "identity")[2:] == -math.inf).all()


@pytest.mark.parametrize(("nonlinearity", "limit"), [("sigmoid", 4.0), ("tanh", 1.0)])
def test_one_unit_is_decided_to_the_last_bit(nonlinearity: str, limit: float) -> None:
    below = math.nextafter(limit, 0.0)
    assert theory.vanishes(below, nonlinearity)
    assert theory.vanishes(-below, nonlinearity)
    assert not theory.vanishes(limit, nonlinearity)
    assert not theory.vanishes(torch.tensor([[limit]]), nonlinearity)


def test_a_matrix_at_the_limit_is_not_said_to_vanish() -> None:
    """Orthogonal matrices have sigma_1 = 1 up to rounding, on either side."""
    for seed in range(20):
        draws = torch.randn(16, 16, dtype=FLOAT64, generator=torch.Generator().manual_seed(seed))
        assert not theory.vanishes(torch.linalg.qr(draws)[0], "tanh")


def test_reasons() -> None:
    yes, no = theory.vanishes(3.0, "sigmoid"), theory.vanishes(1.2, "tanh")
    assert str(yes) == (
        "The gradient must vanish: sigma_1(W_hh) = 3 is below 4, and the slope of sigmoid is at "
        "most 0.25, so no step lets more than 0.75 of it through."
    )
    assert str(no).startswith("Nothing follows: sigma_1(W_hh) = 1.2 is not below 1, ")
    assert (yes.vanishes, no.vanishes) == (True, False)


def test_no_weight_at_all() -> None:
    bound = theory.vanishes(0.0)
    assert bound.log10_after(0) == 0.0
    assert bound.log10_after(1) == -math.inf


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (torch.zeros(8, 2), r"\[H, H\]; got \[8, 2\].*LSTM"),
        (torch.zeros(0, 0), r"got \[0, 0\]"),
        (torch.tensor([[math.nan]]), "finite recurrent weights"),
    ],
)
def test_what_is_refused(w: Tensor, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        theory.vanishes(w)
