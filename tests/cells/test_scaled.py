"""Numbers with a power of two beside them, and the elementwise scan."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tolerances import assert_close

from carousel.cells import Scaled
from carousel.cells._scan import elementwise_scan

FLOAT64 = torch.float64
EXPONENTS = st.integers(-3000, 3000)
UNITS = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=3, max_size=3)


def scaled(units: list[float], exponent: int) -> Scaled:
    mantissa = torch.tensor(units, dtype=FLOAT64).reshape(1, 1, -1)
    return Scaled(mantissa, torch.tensor([[exponent]], dtype=torch.int32))


def exact_log2_norm(units: list[float], exponent: int) -> float:
    """Use Python's own integers: no under- or overflow anywhere."""
    squares = [(value.as_integer_ratio(), exponent) for value in units]
    total = sum((n * n) << max(0, 2 * (200 - d.bit_length() + 1)) for (n, d), _ in squares if n)
    if not total:
        return -math.inf
    return (math.log2(total) - 400) / 2 + exponent


@settings(deadline=None, max_examples=60)
@given(units=UNITS, exponent=EXPONENTS)
def test_log2_norm(units: list[float], exponent: int) -> None:
    units = [value if abs(value) > 1e-30 else 0.0 for value in units]
    found = float(scaled(units, exponent).log2_norm())
    expected = exact_log2_norm(units, exponent)
    assert (
        found == expected if expected == -math.inf else found == pytest.approx(expected, abs=1e-9)
    )


@settings(deadline=None, max_examples=60)
@given(units=UNITS, exponent=EXPONENTS)
def test_value_is_rounded_once(units: list[float], exponent: int) -> None:
    found = scaled(units, exponent).value().flatten().tolist()
    for value, mantissa in zip(found, units, strict=True):
        try:
            expected = math.ldexp(mantissa, exponent)
        except OverflowError:
            expected = math.copysign(math.inf, mantissa)
        assert value == expected


@settings(deadline=None, max_examples=60)
@given(one=UNITS, other=UNITS, exponent=EXPONENTS, gap=st.integers(-40, 40))
def test_sum(one: list[float], other: list[float], exponent: int, gap: int) -> None:
    """The sum of two scaled numbers, put back to an ordinary size, is the sum of both."""
    found = scaled(one, exponent) + scaled(other, exponent + gap)
    back = Scaled(found.mantissa, None if found.exponent is None else found.exponent - exponent)
    expected = scaled(one, 0).value() + scaled(other, gap).value()
    largest = max(abs(value) for value in [*one, *[value * 2.0**gap for value in other]])
    assert (back.value() - expected).abs().max() <= 1e-15 * largest


def test_zero_plus_a_small_number_is_that_number() -> None:
    small, zero = scaled([1.0, 2.0, 0.0], -3000), scaled([0.0, 0.0, 0.0], 3000)
    for found in (small + zero, zero + small):
        assert float(found.log2_norm()) == float(small.log2_norm())


def test_cat_of_plain_and_scaled() -> None:
    plain = Scaled(torch.ones(1, 1, 3, dtype=FLOAT64))
    joined = Scaled.cat([plain, scaled([1.0, 1.0, 1.0], -2000)], 0)
    expected = math.log2(3) / 2
    assert joined.log2_norm().flatten().tolist() == pytest.approx([expected, expected - 2000])
    assert Scaled.cat([plain, plain], 0).log2_norm().shape == (2, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays(value: float) -> None:
    found = scaled([1.0, value, 0.0], 0)
    norm = float(found.log2_norm())
    assert math.isnan(norm) if math.isnan(value) else norm == math.inf


@pytest.mark.parametrize("steps", [1, 2, 63, 64, 65, 66, 100, 129, 1000])
def test_elementwise_scan(steps: int) -> None:
    """The same as a loop, also where it is cut into pieces that run side by side."""
    generator = torch.Generator().manual_seed(steps)
    factor = torch.rand(steps, 2, 3, generator=generator, dtype=FLOAT64) * 1.1
    term = torch.randn(steps, 2, 3, generator=generator, dtype=FLOAT64)
    start = torch.randn(2, 3, generator=generator, dtype=FLOAT64)
    state, expected = start, []
    for t in range(steps):
        state = factor[t] * state + term[t]
        expected.append(state)
    found = elementwise_scan(factor, term, start)
    assert torch.equal(found[0], start)
    assert_close(found[1:], torch.stack(expected), steps, FLOAT64, "c")
