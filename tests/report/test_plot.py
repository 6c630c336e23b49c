"""Axes, ticks, and where bins and letters lie."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report import flows

from carousel.report import Report
from carousel.report._plot import (
    Line,
    column_bins,
    comparison_lines,
    layer_lines,
    letter_places,
    log_axis,
    points,
    position,
    step_ticks,
    strips,
)


def line_of(steps: int) -> Line:
    return layer_lines(Report(flows.tenth(steps)).data.flows[0].layers[0])[0]


@given(st.lists(st.floats(-30000, 30000), min_size=1), st.integers(3, 10))
def test_a_log_axis_holds_every_number(levels: list[float], most: int) -> None:
    axis = log_axis(levels, most)
    assert axis is not None
    assert axis.low <= min(levels)
    assert max(levels) <= axis.high
    assert axis.low < axis.high
    marks = [position(mark) for mark in axis.ticks]
    assert len(marks) >= 2 or axis.high - axis.low > 1
    assert marks == sorted(set(marks))
    assert all(axis.low <= mark <= axis.high for mark in marks)
    assert all(digit in (1, 2, 5) for digit, _ in axis.ticks)


def test_an_axis_is_absolute() -> None:
    axis = log_axis([-7.2, -3.1, "zero", "nan", "infinite", "padding"], 6)
    assert axis is not None
    assert (axis.low, axis.high) == (-8, -3)
    assert axis.fraction(-8) == 0
    assert axis.fraction(-3) == 1
    assert axis.fraction(-5.5) == pytest.approx(0.5)
    assert log_axis(["zero", "nan"], 6) is None


def test_numbers_of_similar_size_get_a_finer_axis() -> None:
    axis = log_axis([math.log10(0.03), math.log10(0.04)], 6)
    assert axis is not None
    assert axis.ticks == ((2, -2), (5, -2))


@given(st.integers(1, 200_000), st.integers(2, 12))
def test_step_ticks(steps: int, most: int) -> None:
    ticks = step_ticks(steps, most)
    assert ticks[0] == 0
    assert ticks[-1] == steps - 1
    assert list(ticks) == sorted(set(ticks))
    assert len(ticks) <= most + 1


@pytest.mark.parametrize(("steps", "columns"), [(1, 50), (7, 50), (64, 50), (5000, 50), (100, 100)])
def test_every_bin_is_in_a_column_and_every_column_has_one(steps: int, columns: int) -> None:
    line = line_of(steps)
    inside = column_bins(line, columns, steps)
    assert len(inside) == columns
    assert {index for bins in inside for index in bins} == set(range(len(line.series.median)))
    assert all(inside)


def test_a_shorter_line_ends_where_it_ends() -> None:
    inside = column_bins(line_of(10), 40, 20)
    assert all(inside[:20])
    assert not any(inside[20:])


def test_points_are_medians_of_the_numbers() -> None:
    line = line_of(20)
    joined = points(line, tuple([1.0, 3.0, "nan", 8.0] + ["zero"] * 16), 5, 20)
    assert [level for _, level in joined] == [3.0, None, None, None, None]
    assert [x for x, _ in points(line, line.series.median, 40, 20)][:2] == [0.025, 0.075]


def test_letters_keep_away_from_other_lines() -> None:
    together = [(x / 10, 0.5) for x in range(11)]
    parting = [(x / 10, 0.5 + max(0, x - 5) / 10) for x in range(11)]
    first, second = letter_places([together, parting])
    assert first is not None
    assert second is not None
    assert first[0] > 0.6
    assert math.dist(first, second) > 0.1
    assert letter_places([[], [(0.3, 0.4)]]) == [None, (0.3, 0.4)]


def test_strips_for_each_line() -> None:
    lines = layer_lines(Report(flows.categories()).data.flows[0].layers[0])
    named = {(strip.line.key, strip.category) for strip in strips(lines)}
    # Of the injected gradient only what alarms: it is zero nearly everywhere by its nature.
    assert named == {
        ("A", "zero"),
        ("A", "underflow"),
        ("A", "infinite"),
        ("A", "nan"),
        ("A", "padding"),
        ("B", "nan"),
    }


def test_a_comparison_of_many_layers_keeps_to_the_first() -> None:
    data = Report({name: flows.lstm(layers=3) for name in "abcd"}).data
    lines = comparison_lines(data.flows)
    assert [line.label for line in lines] == [f"{name}: l0" for name in "abcd"]
    few = Report({"a": flows.lstm(layers=3), "b": flows.tenth()}).data
    assert [line.label for line in comparison_lines(few.flows)] == ["a: l0", "a: l1", "a: l2", "b"]
