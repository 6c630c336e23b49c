"""The helpers are tested too: an error planted in what is tested must turn the comparison red.

Those planted in the derivative of a cell run on the plain equations, which alone go through it; for
the native core see cells/test_native_planted.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import Reference, assert_flow, references
from tests.tolerances import assert_close, tolerance

import carousel
from carousel.cells import CELLS, Cell, Linearisation, _kernels

FLOAT64 = torch.float64
KINDS = {"rnn_tanh": "RNN tanh", "rnn_relu": "RNN relu", "lstm": "LSTM", "gru": "GRU"}
Plant = Callable[[Linearisation], Linearisation]


def check(cell: str) -> None:
    problem = Problem(Case(cell=cell, layers=2, state="given"))
    expected, _ = references(problem, "all")
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    assert_flow(flow, expected, FLOAT64)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Plant], None]]:
    """Put a cell with a changed derivative in the place of the right one, and let it be used."""
    monkeypatch.setattr(_kernels, "_takes", lambda _: False)

    def planted(cell: str, change: Plant) -> None:
        right = CELLS[KINDS[cell]]

        def linearise(*args: Any) -> Linearisation:
            return change(right.linearise(*args))

        wrong: Cell = replace(right, linearise=linearise)
        monkeypatch.setitem(CELLS, KINDS[cell], wrong)

    return planted


def changed(part: str, row: int | None, factor: float) -> Plant:
    """Multiply one row of a part of the derivative, or all of it, by a factor."""

    def change(linearisation: Linearisation) -> Linearisation:
        tensor = getattr(linearisation, part).clone()
        where = tensor if row is None else tensor[..., row, :]
        assert where.any(), f"{part}[{row}] is zero throughout: nothing would be planted"
        where *= factor
        return replace(linearisation, **{part: tensor})

    return change


# Every number of the derivative: rows that follow from h, from c, and what ties them together.
PLANTS = {
    "rnn_tanh": [("from_h", 0)],
    "rnn_relu": [("from_h", 0)],
    "gru": [*(("from_h", row) for row in range(4)), ("n_from_h", None)],
    "lstm": [
        ("from_h", 0),
        *(("from_c", row) for row in range(4)),
        ("c_from_h", None),
    ],
}


@pytest.mark.parametrize(
    ("cell", "part", "row"), [(cell, *place) for cell, places in PLANTS.items() for place in places]
)
def test_a_sign_error_in_the_derivative_is_noticed(
    cell: str, part: str, row: int | None, plant: Callable[[str, Plant], None]
) -> None:
    check(cell)
    plant(cell, changed(part, row, -1.0))
    with pytest.raises(AssertionError, match="off by"):
        check(cell)


@pytest.mark.parametrize("cell", list(KINDS))
def test_an_error_of_a_millionth_is_noticed(cell: str, plant: Callable[[str, Plant], None]) -> None:
    plant(cell, changed("from_h", None, 1 + 1e-6))
    with pytest.raises(AssertionError, match="off by"):
        check(cell)


@pytest.mark.parametrize("cell", list(KINDS))
def test_an_honest_plant_is_not(cell: str, plant: Callable[[str, Plant], None]) -> None:
    """The way of planting is not itself what turns the comparison red."""
    plant(cell, lambda linearisation: linearisation)
    check(cell)


def test_injected_in_the_place_of_total_is_noticed() -> None:
    """The mistake of nearly every tool."""
    problem = Problem(Case(cell="lstm", state="given"))
    expected, _ = references(problem, "all")
    swapped: Reference = replace(expected["l0"], d_h=expected["l0"].d_h_injected)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    with pytest.raises(AssertionError, match="d_h of l0"):
        assert_flow(flow, {"l0": swapped}, FLOAT64)


class TestAssertClose:
    """The comparison that all others stand on."""

    def test_equal(self) -> None:
        x = torch.randn(3, 2, dtype=FLOAT64)
        assert_close(x, x.clone(), 3, FLOAT64, "x")

    def test_off(self) -> None:
        x = torch.ones(3, dtype=FLOAT64)
        with pytest.raises(AssertionError, match="x: off by"):
            assert_close(x + 2e-10, x, 3, FLOAT64, "x")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, value: float) -> None:
        x = torch.ones(3, dtype=FLOAT64)
        with pytest.raises(AssertionError, match="x: not finite"):
            assert_close(x * value, x, 3, FLOAT64, "x")
        with pytest.raises(AssertionError, match="oracle itself"):
            assert_close(x * value, x * value, 3, FLOAT64, "x")

    def test_shape(self) -> None:
        x = torch.ones(3, 1, dtype=FLOAT64)
        with pytest.raises(AssertionError, match="shape"):
            assert_close(x, x.flatten(), 3, FLOAT64, "x")

    def test_zero_must_be_zero(self) -> None:
        zero = torch.zeros(3, dtype=FLOAT64)
        assert_close(zero, zero, 3, FLOAT64, "x")
        with pytest.raises(AssertionError, match="off by"):
            assert_close(zero + 1e-300, zero, 3, FLOAT64, "x")


def test_every_dtype_and_length_has_a_tolerance() -> None:
    assert tolerance(FLOAT64, 1) == 1e-10
    assert tolerance(torch.float32, 11) > tolerance(torch.float32, 10)
    with pytest.raises(KeyError, match="no tolerance"):
        tolerance(torch.bfloat16, 10_000)
