"""The JSON is strict, complete, and names what is not a number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.report import flows

from carousel.report import Report


def refuse(literal: str) -> Any:
    raise AssertionError(f"{literal} is not JSON")


def parsed(report: Report) -> Any:
    return json.loads(report.to_json(), parse_constant=refuse)


def test_it_is_strict_and_versioned() -> None:
    data = parsed(Report({"a": flows.categories(), "b": flows.lstm(layers=2)}, title="ü"))
    assert data["schema"] == 1
    assert data["title"] == "ü"
    assert [flow["name"] for flow in data["flows"]] == ["a", "b"]
    assert [layer["name"] for layer in data["flows"][1]["layers"]] == ["l0", "l1"]
    assert Report(flows.categories(), title="ü").to_json().isascii()


def test_non_values_are_named() -> None:
    (layer,) = parsed(Report(flows.categories()))["flows"][0]["layers"]
    column = [row[0] for row in layer["heat_map"]["category"]]
    assert column == ["value", "underflow", "infinite", "zero", "nan", "value"]
    assert layer["heat_map"]["level"][5][-1] == "padding"
    total = layer["series"][0]
    assert total["quantity"] == "d_h"
    assert total["smallest"][0] == "zero"
    assert isinstance(total["largest"][0], float)


@pytest.mark.parametrize("kind", ["zero", "too short"])
def test_a_horizon_without_a_rate_has_none(kind: str) -> None:
    flow = flows.one_nan_in(60) if kind == "zero" else flows.tenth(3)
    horizon = parsed(Report(flow))["flows"][0]["layers"][0]["horizon"]
    assert horizon["kind"] == kind
    assert horizon["rate"] is horizon["steps"] is horizon["rate_interval"] is None
