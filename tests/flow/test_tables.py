"""Tables: every norm is in them once, with its category, and files give back what went in."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from tests.cases import Case, Problem, few
from tests.report import flows
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Category, Flow, LayerFlow

COLUMNS = ["layer", "direction", "t", "sequence", "quantity", "log10_norm", "category"]


def measured(case: Case) -> Flow:
    problem = Problem(case)
    return carousel.measure(problem.module, lambda: problem.loss("all"))


def cube(table: pd.DataFrame, layer: LayerFlow, quantity: str, column: str) -> np.ndarray:
    """[T, B] again, by the columns t and sequence."""
    rows = table[(table.layer == layer.name) & (table.quantity == quantity)]
    assert len(rows) == layer.steps * layer.batch
    values = rows[column].cat.codes if column == "category" else rows[column]
    found = np.full((layer.steps, layer.batch), -99.0)
    found[rows.t, rows.sequence] = values
    return found


@pytest.mark.parametrize("case", few()[::4], ids=lambda case: case.id)
def test_every_norm_is_in_the_frame_once(case: Case) -> None:
    flow = measured(case)
    table = flow.to_frame()
    assert list(table.columns) == COLUMNS
    rows = 0
    for layer in flow.layers.values():
        names = ["d_h", "d_h_injected", "h"]
        names += ["d_c", "d_c_injected", "c"] if layer.c is not None else []
        rows += len(names) * layer.steps * layer.batch
        valid = layer.trace.valid.numpy()
        for name in names:
            log10 = cube(table, layer, name, "log10_norm")
            np.testing.assert_array_equal(log10[valid], layer.log10_norm(name).numpy()[valid])
            assert np.isnan(log10[~valid]).all()
            kinds = cube(table, layer, name, "category")
            np.testing.assert_array_equal(kinds, layer.category(name).numpy())
    assert len(table) == rows
    directions = table.groupby("layer", observed=True).direction.unique()
    for name, layer in flow.layers.items():
        assert list(directions[name]) == [layer.direction]


def test_five_reasons_for_no_number_stay_five() -> None:
    """At step 0, or the last one, each of six sequences is of another category."""
    table = flows.categories()["rnn.l0"].to_frame(["d_h"])
    first = table[table.t == 0].set_index("sequence")
    names = list(flows.CATEGORIES)
    assert list(first.category[:5]) == names[:5]
    last = table[(table.t == flows.STEPS - 1) & (table.sequence == 5)]
    assert list(last.category) == ["padding"]
    log10 = dict(zip(names, first.log10_norm, strict=True))
    assert log10["value"] == 0.0
    assert log10["underflow"] == pytest.approx(-118, abs=1e-4)
    assert log10["infinite"] == pytest.approx(59 * math.log10(30), abs=1e-4)
    assert log10["zero"] == -math.inf
    assert math.isnan(log10["nan"])
    assert math.isnan(float(last.log10_norm.iloc[0]))
    assert list(table.category.cat.categories) == [kind.name.lower() for kind in Category]


def test_a_frame_of_chosen_quantities() -> None:
    layer = flows.lstm()["l0"]
    table = layer.to_frame(["x", "d_c"])
    assert set(table.quantity) == {"x", "d_c"}
    np.testing.assert_array_equal(
        cube(table, layer, "x", "log10_norm"), layer.log10_norm("x").numpy()
    )


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 3), (5, 1)])
def test_small_frames(steps: int, batch: int) -> None:
    layer = measured(Case(cell="gru", steps=steps, batch=batch))["l0"]
    assert len(layer.to_frame()) == 3 * steps * batch
    assert dict(layer.to_xarray().sizes) == {"quantity": 3, "t": steps, "sequence": batch}


def test_layers_with_and_without_c_share_a_table() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.LSTM(2, 3), nn.GRU(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)[0])[0]

    model = Both()
    flow = carousel.measure(model, lambda: model(torch.randn(6, 2, 2)).sum())
    table = flow.to_frame(["d_h", "d_c"])
    found = table.groupby("layer", observed=True).quantity.unique()
    assert {name: list(values) for name, values in found.items()} == {
        "a.l0": ["d_h", "d_c"],
        "b.l0": ["d_h"],
    }
    assert list(flow.to_xarray(["d_c"]).children) == ["a.l0"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_low_precision_and_layers_of_our_own(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    lstm = carousel.LSTM(3, 5, variant="cifg").to(dtype)
    flow = carousel.measure(lstm, lambda: lstm(torch.randn(6, 4, 3, dtype=dtype))[0].sum())
    layer = flow["l0"]
    table = flow.to_frame()
    np.testing.assert_array_equal(
        cube(table, layer, "d_c", "log10_norm"), layer.log10_norm("d_c").numpy()
    )
    assert set(flow.to_xarray(units=True)["l0"].data_vars) >= {"d_c", "gate_i", "gate_o"}
    flow.to_parquet(tmp_path / "low.parquet")
    about = json.loads(pq.read_schema(tmp_path / "low.parquet").metadata[b"carousel"])
    assert about["layers"]["l0"]["dtype"] == str(dtype).removeprefix("torch.")


def test_parquet_gives_back_the_frame_and_what_it_has_to_be_read_with(tmp_path: Path) -> None:
    flow = flows.categories()
    flow.to_parquet(tmp_path / "flow.parquet")
    table = pq.read_table(tmp_path / "flow.parquet")
    frame = flow.to_frame()
    pd.testing.assert_frame_equal(table.to_pandas(), frame, check_categorical=False)
    log10, kind = table["log10_norm"].to_pylist(), table["category"].to_pylist()
    missing = {kind for value, kind in zip(log10, kind, strict=True) if value is None}
    assert missing == {"padding"}
    numbers = [(value, k) for value, k in zip(log10, kind, strict=True) if value is not None]
    nan = {k for value, k in numbers if math.isnan(value)}
    assert nan == {"nan"}
    about = json.loads(table.schema.metadata[b"carousel"])
    layer = flow["rnn.l0"]
    assert about["remarks"] == list(flow.remarks)
    assert about["layers"]["rnn.l0"]["certificate"] == layer.certificate
    assert about["layers"]["rnn.l0"]["lengths"] == layer.lengths.tolist()
    assert about["layers"]["rnn.l0"]["dtype"] == "float32"


def test_a_layer_alone_as_parquet(tmp_path: Path) -> None:
    layer = flows.lstm(layers=2)["l1"]
    layer.to_parquet(str(tmp_path / "layer.parquet"), ["d_h"])
    found = pq.read_table(tmp_path / "layer.parquet").to_pandas()
    pd.testing.assert_frame_equal(found, layer.to_frame(["d_h"]), check_categorical=False)


def test_a_certificate_that_is_nan_can_be_written(tmp_path: Path) -> None:
    flow = measured(Case(cell="lstm"))
    broken = LayerFlow(dataclasses.replace(flow["l0"].trace, certificate=math.nan))
    broken.to_parquet(tmp_path / "nan.parquet")
    about = json.loads(pq.read_schema(tmp_path / "nan.parquet").metadata[b"carousel"])
    assert about["layers"]["l0"]["certificate"] == "nan"
    assert broken.to_xarray().attrs["certificate"] == "nan"


@pytest.mark.parametrize("case", few()[::6], ids=lambda case: case.id)
def test_datasets_hold_norms_and_categories(case: Case) -> None:
    flow = measured(case)
    tree = flow.to_xarray()
    assert list(tree.children) == list(flow)
    for name, layer in flow.layers.items():
        data = tree[name].to_dataset()
        valid = layer.trace.valid.numpy()
        for quantity in data.quantity.values:
            log10 = data.log10_norm.sel(quantity=quantity).values
            np.testing.assert_array_equal(log10[valid], layer.log10_norm(quantity).numpy()[valid])
            kinds = data.category.sel(quantity=quantity).values
            np.testing.assert_array_equal(kinds, layer.category(quantity).numpy())
        np.testing.assert_array_equal(data.length, layer.lengths)
        assert data.attrs["cell"] == layer.kind
        meanings = data.category.attrs["flag_meanings"].split()
        assert meanings[Category.UNDERFLOW] == "underflow"


def test_a_dataset_with_units_holds_the_tensors() -> None:
    layer = measured(Case(cell="lstm", projected=True))["l0"]
    data = layer.to_xarray(["d_h", "d_c", "x"], units=True)
    assert data.d_h.dims == ("t", "sequence", "output")
    assert data.d_c.dims == data.gate_f.dims == ("t", "sequence", "unit")
    for name, tensor in {"d_h": layer.d_h, "d_c": layer.d_c, "x": layer.trace.x}.items():
        np.testing.assert_array_equal(data[name], tensor)
    for gate, tensor in layer.gates.items():
        np.testing.assert_array_equal(data[f"gate_{gate}"], tensor.detach())


CALLS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pandas": (lambda _: flows.lstm().to_frame(), "A data frame needs pandas"),
    "xarray": (lambda _: flows.lstm().to_xarray(), "An xarray tree needs xarray"),
    "pyarrow": (lambda path: flows.lstm().to_parquet(path / "a"), "A Parquet file needs pyarrow"),
}


@pytest.mark.parametrize("package", CALLS)
def test_without_the_package_the_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call, message = CALLS[package]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CarouselError, match=message) as caught:
        call(tmp_path)
    assert "pip install 'carousel-rnn[tables]'" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flows.lstm()["l0"].to_frame("d_h"), "names of quantities.*got 'd_h'"),
        (lambda: flows.lstm()["l0"].to_frame([]), r"names of quantities.*got \[\]"),
        (lambda: flows.lstm()["l0"].to_frame(["d_g"]), "no quantity 'd_g'.*d_h, d_c"),
        (lambda: flows.tenth().to_frame(["d_c"]), "no quantity 'd_c'"),
        (lambda: Flow({}).to_frame(), "of 0 layers none has"),
    ],
)
def test_what_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        call()
