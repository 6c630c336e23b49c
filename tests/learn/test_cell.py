"""The numbers of the cell diagram, against the layer's own and against autograd."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import get_args

import pytest
import torch

from carousel import CarouselError
from carousel.flow import LayerFlow, measure
from carousel.layers import GRU, LSTM, RNN
from carousel.learn import (
    CellGradient,
    CellRun,
    CellSettings,
    CellValues,
    Network,
    Settings,
    run_cell,
)
from carousel.learn._settings import CellName, loss_of, network, signal

CELLS = get_args(CellName)
UNIT = 2


def settings(cell: CellName, **changes: object) -> CellSettings:
    return CellSettings(network=Network(cell, hidden=7), loss="every", unit=UNIT, **changes)  # type: ignore[arg-type]


def measured(of: CellSettings) -> tuple[RNN | LSTM | GRU, LayerFlow]:
    """The same network, measured here; its parameters hold their gradients."""
    module = network(of.network, of.steps, of.seed)
    x = signal(Settings(of.network, of.network, of.steps, of.signal, of.loss, of.seed))
    layer = measure(module, lambda: loss_of(module(x)[0], of.loss))["l0"]
    loss_of(module(x)[0], of.loss).backward()
    return module, layer


def values(run: CellRun, name: str) -> CellValues:
    return next(one for one in run.values if one.name == name)


def numbers(gradient: CellGradient) -> torch.Tensor:
    """Signs and sizes as plain numbers; NaN where nothing was recorded."""
    sizes = [
        float("nan") if size == "padding" else 0.0 if size == "zero" else 10.0**size
        for size in gradient.size
    ]
    signs = [-1.0 if negative else 1.0 for negative in gradient.negative]
    return torch.tensor(sizes, dtype=torch.float64) * torch.tensor(signs, dtype=torch.float64)


def gradient(run: CellRun, name: str) -> torch.Tensor:
    return numbers(next(one for one in run.gradients if one.name == name))


def way(run: CellRun, name: str) -> torch.Tensor:
    return numbers(next(one for one in run.ways if one.name == name))


@pytest.mark.parametrize("cell", CELLS)
def test_values_are_the_layers(cell: CellName) -> None:
    of = settings(cell)
    run, (_, layer) = run_cell(of), measured(of)
    expected = {
        **layer.gates,
        **{f"a_{gate}": a for gate, a in layer.pre_activations.items()},
        "h": layer.h,
    }
    if layer.c is not None:
        expected["c"] = layer.c
    for name, tensor in expected.items():
        assert values(run, name).of_unit == tuple(tensor[:, 0, UNIT].tolist()), name
        assert values(run, name).mean == pytest.approx(tensor[:, 0].mean(-1).tolist(), abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_new_state_is_what_is_kept_and_what_is_written(cell: CellName) -> None:
    run = run_cell(settings(cell))
    state = values(run, run.state).of_unit
    assert values(run, f"{run.state}_prev").of_unit == (0.0, *state[:-1])
    if not cell.startswith("rnn"):
        kept, written = values(run, "kept").of_unit, values(run, "written").of_unit
        both = [a + b for a, b in zip(kept, written, strict=True)]  # type: ignore[operator]
        assert both == pytest.approx(list(state), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_slopes_are_the_derivatives_of_the_activations(cell: CellName) -> None:
    run = run_cell(settings(cell))
    activations = {"g": torch.tanh, "n": torch.tanh, "h": torch.tanh, "tanh_c": torch.tanh}
    if cell == "rnn-relu":
        activations["h"] = torch.relu
    for slope in run.slopes:
        name = "c" if slope.name == "tanh_c" else f"a_{slope.name}"
        a = torch.tensor(values(run, name).of_unit, dtype=torch.float64, requires_grad=True)
        activations.get(slope.name, torch.sigmoid)(a).sum().backward()
        assert a.grad is not None
        assert list(slope.of_unit) == pytest.approx(a.grad.tolist(), rel=1e-4, abs=1e-6), slope.name


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_pre_activations_add_up_to_those_of_the_biases(cell: CellName) -> None:
    """a_k = .. + b_k at every step, so dL/db_k is the sum of all dL/da_k: autograd knows it."""
    of = settings(cell)
    run, (module, _) = run_cell(of), measured(of)
    grad_ih = module.get_parameter("bias_ih_l0").grad
    grad_hh = module.get_parameter("bias_hh_l0").grad
    assert grad_ih is not None
    assert grad_hh is not None
    for place, gate in enumerate(run.gates):
        row = place * of.network.hidden + UNIT
        found = gradient(run, f"a_{gate}").sum().item()
        assert found == pytest.approx(grad_ih[row].item(), rel=1e-4, abs=1e-6), gate
        if gate == "n":
            found = gradient(run, "q").sum().item()
            assert found == pytest.approx(grad_hh[row].item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_ways_add_up_to_the_total(cell: CellName) -> None:
    of = settings(cell)
    run, (_, layer) = run_cell(of), measured(of)
    total = layer.d_h if layer.d_c is None else layer.d_c
    assert gradient(run, run.state).tolist() == pytest.approx(total[:, 0, UNIT].tolist(), rel=1e-5)
    parts = torch.stack([numbers(one) for one in run.ways]).sum(0)
    rounding = 1e-5 * layer.norm(f"d_{run.state}")[:, 0].double()
    assert ((parts - gradient(run, run.state)).abs() <= rounding).all()
    assert [one.name for one in run.ways] == list(layer.paths().names)
    for one in run.ways:
        theirs = layer.paths().parts[one.name][:, 0, UNIT].tolist()
        assert numbers(one).tolist() == pytest.approx(theirs, rel=1e-5, abs=1e-30), one.name


def test_what_reaches_c_through_h_and_along_the_carousel_is_all() -> None:
    run = run_cell(settings("lstm"))
    both = gradient(run, "c_from_h") + way(run, "direct")
    assert both.tolist() == pytest.approx(gradient(run, "c").tolist(), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_before_has_the_gradient_of_the_step_before(cell: CellName) -> None:
    run = run_cell(settings(cell))
    now, before = gradient(run, run.state), gradient(run, f"{run.state}_prev")
    assert before[0].isnan()
    assert torch.equal(before[1:], now[:-1])
    assert next(one for one in run.gradients if one.name == "h_prev").norm[0] == "padding"


def test_a_gradient_below_every_float32_is_a_number() -> None:
    of = CellSettings(network=Network("rnn-tanh", hidden=8), steps=200)
    run, (_, layer) = run_cell(of), measured(of)
    total = next(one for one in run.gradients if one.name == "h")
    assert isinstance(total.norm[0], float)
    assert total.norm[0] < -50 < run.smallest_log10
    assert total.norm[0] == pytest.approx(layer.log10_norm("d_h")[0].item())
    assert isinstance(total.size[0], float)
    assert total.size[0] <= total.norm[0]


def test_an_exact_zero_is_said_to_be_one() -> None:
    run = run_cell(CellSettings(steps=6, loss="middle"))
    total = next(one for one in run.gradients if one.name == "c")
    assert [size == "zero" for size in total.size] == [False] * 3 + [True] * 3


def test_infinities_travel_by_name() -> None:
    growing = Network("rnn-relu", hidden=64, init="orthogonal", gain=4.0)
    run = run_cell(CellSettings(network=growing, steps=200))
    said = {value for one in run.values for value in one.mean if isinstance(value, str)}
    assert "infinite" in said
    json.dumps(asdict(run), allow_nan=False)


def test_there_is_no_such_unit() -> None:
    of = CellSettings(network=Network("gru", hidden=3), unit=3)
    with pytest.raises(CarouselError, match=r"one of the 3 units, 0 to 2, got 3\."):
        run_cell(of)


def test_it_stops_where_nobody_waits() -> None:
    def proceed() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        run_cell(CellSettings(), proceed)
