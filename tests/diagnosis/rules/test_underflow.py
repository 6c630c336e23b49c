"""Gradients below the range of the module's dtype."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, found, made, measured, scaled
from torch import nn

import carousel


@pytest.mark.parametrize(("dtype", "sick"), [(torch.float32, True), (torch.float64, False)])
def test_the_range_of_the_dtype_decides(dtype: torch.dtype, *, sick: bool) -> None:
    """A gradient that falls by 10 at each step leaves float32 after 38 of 80."""
    module = carousel.init.orthogonal_(made(carousel.RNN, nonlinearity="identity"), 0.1).to(dtype)
    findings = found(measured(module, data().to(dtype)), "underflow")
    assert bool(findings) == sick
    if sick:
        assert findings[0].severity == "info"
        assert findings[0].evidence["underflowed_steps"] == pytest.approx(42, abs=2)


def test_half_precision_is_a_warning() -> None:
    """float16 ends at 6e-5: a gradient that halves is gone after 14 steps."""
    module = carousel.init.orthogonal_(made(carousel.RNN, nonlinearity="identity"), 0.5).half()
    (finding,) = found(measured(module, data().half(), lambda h: h[-1].sum()), "underflow")
    assert finding.severity == "warning"
    assert "float16" in finding.sentence


def test_an_exact_zero_is_no_underflow() -> None:
    flow = measured(scaled(made(nn.RNN), 0.0))
    assert not found(flow, "underflow")


def test_an_ordinary_gradient() -> None:
    assert not found(measured(made(nn.LSTM), loss=every), "underflow")
