"""What the schema says of flows whose gradients are known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tests.report import flows

import carousel
from carousel._quantile import quantile
from carousel.flow import Flow, LayerFlow
from carousel.report import Report
from carousel.report._schema import SCHEMA, LayerSummary
from carousel.report._summary import MOST_BINS, MOST_COLUMNS, MOST_ROWS

INF = math.inf


def layer_of(flow: Flow) -> LayerSummary:
    return Report(flow).data.flows[0].layers[0]


def tampered(certificate: float) -> Flow:
    """A flow whose replay missed the module by so much."""
    ((name, layer),) = flows.tenth().layers.items()
    return Flow({name: LayerFlow(dataclasses.replace(layer.trace, certificate=certificate))})


def test_each_category_is_counted_where_it_is() -> None:
    counts = layer_of(flows.categories()).total.counts
    # The padded sequence has a plain value at step 0, and nothing at the last.
    assert [counts.of(name)[0] for name in flows.CATEGORIES] == [2, 1, 1, 1, 1, 0]
    last = [counts.of(name)[-1] for name in flows.CATEGORIES]
    assert last == [5, 0, 0, 0, 0, 1]
    assert counts.occurring() == ("zero", "underflow", "infinite", "nan", "padding")
    assert {counts.total(step) for step in range(flows.STEPS)} == {len(flows.CATEGORIES)}


def test_the_heat_map_has_a_row_for_each_category() -> None:
    heat = layer_of(flows.categories()).heat_map
    column = {name: row[0] for name, row in zip(flows.CATEGORIES, heat.category, strict=True)}
    assert column == {name: name for name in flows.CATEGORIES} | {"padding": "value"}
    levels = {name: row[0] for name, row in zip(flows.CATEGORIES, heat.level, strict=True)}
    assert levels["value"] == 0.0
    assert levels["underflow"] == pytest.approx(-2 * (flows.STEPS - 1), abs=1e-3)
    assert levels["zero"] == "zero"
    assert levels["infinite"] == "infinite"
    assert levels["nan"] == "nan"
    assert heat.category[-1][-1] == heat.level[-1][-1] == "padding"


def test_a_norm_below_or_above_every_dtype_keeps_its_size() -> None:
    series = layer_of(flows.categories()).total
    lag = flows.STEPS - 1
    assert series.largest[0] == pytest.approx(lag * math.log10(30), abs=1e-3)
    assert series.smallest[0] == "zero"
    assert layer_of(flows.tenth(400)).at_first_step == pytest.approx(-399, abs=1e-3)


def test_total_and_injected_are_told_apart() -> None:
    layer = layer_of(flows.tenth())
    injected = layer.of("d_h_injected")
    assert injected is not None
    assert layer.total.median[-3:] == pytest.approx([-2, -1, 0], abs=1e-5)
    assert injected.median[-3:] == ("zero", "zero", 0.0)
    assert layer.of("d_c") is None
    assert layer_of(flows.lstm()).of("d_c") is not None


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([3.0, 1.0], 0.5, 2.0),
        ([0.0, 10.0], 0.1, 1.0),
        ([-INF, 1.0, 2.0], 0.5, 1.0),
        ([-INF, -INF, 2.0], 0.5, -INF),
        ([-INF, 5.0], 0.1, -INF),  # never NaN between an infinity and a number
        ([5.0, INF], 0.9, INF),
        ([-INF, INF], 0.0, -INF),
        ([7.0], 0.9, 7.0),
    ],
)
def test_quantiles(values: list[float], share: float, expected: float) -> None:
    row = torch.tensor([[*values, math.nan]])
    assert quantile(row, ~row.isnan(), share).item() == expected


def test_long_sequences_are_binned_and_nothing_is_lost() -> None:
    steps = 2 * MOST_BINS + 1
    layer = layer_of(flows.one_nan_in(steps))
    counts = layer.total.counts
    assert len(layer.first_step) <= MOST_BINS
    assert layer.first_step[0] == 0
    assert layer.last_step[-1] == steps - 1
    assert all(a + 1 == b for a, b in zip(layer.last_step, layer.first_step[1:], strict=False))
    assert sum(counts.total(index) for index in range(len(layer.first_step))) == steps
    assert sum(counts.nan) == 1
    assert counts.nan[0] == 1
    assert sum(row.count("nan") for row in layer.heat_map.category) == 1


def test_ends_are_single_steps_even_where_bins_are_wide() -> None:
    steps = 3 * MOST_BINS
    layer = layer_of(flows.tenth(steps))
    assert layer.at_last_step == 0.0
    assert layer.at_first_step == pytest.approx(1 - steps, rel=1e-6)


def test_many_sequences_share_the_rows_of_the_map() -> None:
    flow = flows.decaying(weight=0.5, steps=3, loss=lambda output, _: output[-1].sum())
    ((name, layer),) = flow.layers.items()
    assert name == "rnn.l0"
    assert len(layer_of(flow).heat_map.first_sequence) == layer.batch
    model = flows.DiagonalRNN([1.0], [400] * 50)
    wide = carousel.measure(model, (torch.zeros(400, 50, 1), 0), lambda o, _: o[-1].sum())
    heat = layer_of(wide).heat_map
    assert len(heat.category) <= MOST_ROWS
    assert len(heat.category[0]) <= MOST_COLUMNS
    assert heat.last_sequence[-1] == 49
    assert heat.last_step[-1] == 399


def test_identity_certificate_and_horizon() -> None:
    data = Report(flows.lstm(), title="t").data
    layer = data.flows[0].layers[0]
    assert data.schema == SCHEMA
    assert (layer.kind, layer.direction, layer.steps, layer.batch, layer.hidden, layer.dtype) == (
        "LSTM",
        "forward",
        40,
        4,
        5,
        "float32",
    )
    assert layer.certificate.within
    assert layer.horizon.kind == "decaying"
    assert layer.horizon.sentence == str(flows.lstm()["l0"].horizon())
    assert data.faults == ()


def test_what_is_not_finite_is_a_fault_with_its_place() -> None:
    flow = flows.categories()
    data = Report({"one": flow}).data
    located = data.flows[0].nonfinite
    assert [found.layer for found in located] == ["rnn.l0"]
    assert data.faults == (f"one: {flow.nonfinite[0]}",)


@pytest.mark.parametrize("certificate", [1.0, math.inf, math.nan])
def test_a_replay_that_missed_is_a_fault(certificate: float) -> None:
    report = Report(tampered(certificate))
    assert not report.data.flows[0].layers[0].certificate.within
    (fault,) = report.faults
    assert "do not trust" in fault


def test_facts_go_to_the_report_or_to_their_flow() -> None:
    data = Report(
        {"a": flows.tenth(), "b": flows.lstm()},
        facts={"seed": 0, "accuracy": {"a": 0.5, "b": 0.9}, "note": {"b": "slow"}},
    ).data
    assert [(fact.label, fact.value) for fact in data.facts] == [("seed", 0)]
    assert [(fact.label, fact.value) for fact in data.flows[0].facts] == [("accuracy", 0.5)]
    assert [(fact.label, fact.value) for fact in data.flows[1].facts] == [
        ("accuracy", 0.9),
        ("note", "slow"),
    ]
