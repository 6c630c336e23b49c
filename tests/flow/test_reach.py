"""What is left of a gradient after a lag: known answers, and the Jacobian product's own norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import LayerFlow


def linear(w: float, steps: int) -> LayerFlow:
    rnn = carousel.RNN(1, 1, nonlinearity="identity", bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(w)
    x = torch.ones(steps, 2, 1).double()
    return carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())["l0"]


@pytest.mark.parametrize(("w", "lag"), [(0.5, 3), (2.0, 7), (1e-3, 400), (-1.0, 5)])
def test_a_linear_unit(w: float, lag: int) -> None:
    expected = lag * math.log10(abs(w))
    assert linear(w, 402).reach(lag).tolist() == [pytest.approx(expected, abs=1e-9)] * 2


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("lag", [1, 4, 11])
def test_it_is_the_spectral_norm_where_the_rows_span_the_state(
    kind: type[nn.Module], lag: int
) -> None:
    torch.manual_seed(0)
    module = kind(3, 5).double()
    x = nn.utils.rnn.pack_sequence(
        [torch.randn(n, 3).double() for n in (12, 12, 7)], enforce_sorted=False
    )
    layer = carousel.measure(module, lambda: module(x)[0].data.sum())["l0"]
    norms = layer.jacobian_norms().log10
    found = layer.reach(lag)
    assert torch.equal(found.isnan(), torch.tensor([False, False, lag > 6]))
    torch.testing.assert_close(found, norms[lag], rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("lag", [0, 12, -1, 2.0, True])
def test_a_lag_that_is_not_there(lag: object) -> None:
    with pytest.raises(CarouselError, match=r"Expected a lag from 1 to 11 steps, for l0 was shown"):
        linear(0.5, 12).reach(lag)
