"""NaN and infinity are no error: they are found at (layer, step, sequence, quantity)."""

from __future__ import annotations

import math

import pytest
import torch
from tests.cases import Case, Problem, few

import carousel
from carousel.flow import Category

CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
GATES = {"rnn_tanh": "h", "rnn_relu": "h", "lstm": "ifgo", "gru": "rzn"}


def measured(problem: Problem, loss: str = "all") -> carousel.Flow:
    return carousel.measure(problem.module, lambda: problem.loss(loss))


def test_nothing_is_found_where_all_is_finite() -> None:
    for case in few():
        assert measured(Problem(case)).nonfinite == ()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("cell", CELLS)
def test_input_at_a_step(cell: str, value: float) -> None:
    problem = Problem(Case(cell=cell, layers=2, state="given"))
    problem.x[2, 1, 0] = value
    flow = measured(problem)
    first = flow.nonfinite[0]
    assert (first.layer, first.phase, first.step, first.sequence) == ("l0", "forward", 2, 1)
    assert first.quantity == "x"
    assert first.value == ("nan" if math.isnan(value) else "inf")
    assert flow["l0"].h[:2].isfinite().all()
    assert flow["l0"].h[:, 0].isfinite().all()


@pytest.mark.parametrize("cell", CELLS)
def test_input_of_the_reverse_direction_is_located_in_the_order_of_the_input(cell: str) -> None:
    case = Case(cell=cell, bidirectional=True, ragged="unsorted", state="given", steps=5)
    problem = Problem(case)
    problem.x[2, 1, 0] = math.nan
    flow = measured(problem)
    found = {f.layer: f for f in flow.nonfinite if f.phase == "forward"}
    for layer in ("l0", "l0_reverse"):
        place = (found[layer].step, found[layer].sequence, found[layer].quantity)
        assert place == (2, 1, "x")
    assert flow["l0_reverse"].h[3:, 1].isfinite().all()


@pytest.mark.parametrize(
    ("cell", "gate"), [(cell, gate) for cell in CELLS for gate in range(len(GATES[cell]))]
)
@pytest.mark.parametrize("layer", [0, 1])
def test_weight_of_a_gate(cell: str, gate: int, layer: int) -> None:
    problem = Problem(Case(cell=cell, layers=2, state="given"))
    rows = problem.case.hidden
    with torch.no_grad():
        weight = getattr(problem.module, f"weight_ih_l{layer}")
        weight[gate * rows + 1, 0] = math.nan
    first = measured(problem).nonfinite[0]
    assert (first.layer, first.phase, first.step) == (f"l{layer}", "forward", 0)
    one_gate = len(GATES[cell]) == 1
    assert first.quantity == ("the pre-activation" if one_gate else f"gate {GATES[cell][gate]}")
    assert first.value == "nan"


def test_initial_state() -> None:
    problem = Problem(Case(cell="lstm", layers=2, state="given"))
    problem.c0[1, 2, 0] = math.nan
    first = measured(problem).nonfinite[0]
    assert (first.layer, first.phase, first.step, first.sequence) == ("l1", "forward", 0, 2)
    assert "state before" in first.quantity


@pytest.mark.parametrize(("value", "name"), [(math.inf, "inf"), (math.nan, "nan")])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient(cell: str, value: float, name: str) -> None:
    problem = Problem(Case(cell=cell, layers=2, state="given"))
    problem.w_output[2, 1, 0] = value
    flow = measured(problem, "output")
    assert all(found.phase == "backward" for found in flow.nonfinite)
    first = flow.nonfinite[0]
    assert (first.layer, first.step, first.sequence) == ("l1", 2, 1)
    assert first.quantity == "d_h injected"
    assert first.value == name
    assert flow["l1"].d_h[3].isfinite().all()
    assert flow["l1"].d_h[:, 0].isfinite().all()


def test_gradient_on_the_last_cell_state() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    problem.w_c_n[0, 1, 2] = math.inf
    first = measured(problem, "c_n").nonfinite[0]
    place = (first.layer, first.phase, first.step, first.sequence, first.quantity)
    assert place == ("l0", "backward", 3, 1, "d_c injected")


def test_forward_is_named_before_backward() -> None:
    """A NaN of the forward pass makes NaN gradients: the cause comes first."""
    problem = Problem(Case(cell="gru", layers=2, state="given"))
    problem.x[1, 0, 0] = math.nan
    phases = [found.phase for found in measured(problem).nonfinite]
    assert phases[0] == "forward"
    assert phases == sorted(phases, key=["forward", "backward"].index)
    assert "backward" in phases


def test_a_finding_is_a_sentence() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    problem.x[2, 1, 0] = math.nan
    sentence = str(measured(problem).nonfinite[0])
    for word in ("l0", "NaN", "step 2", "sequence 1", "forward"):
        assert word in sentence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "h0", "weight", "gradient"])
@pytest.mark.parametrize("case", few()[::3], ids=lambda case: case.id)
def test_nothing_raises(case: Case, where: str, value: float) -> None:
    """Every quantity of every layer can be asked for, whatever is in it."""
    problem = Problem(case)
    with torch.no_grad():
        target = {
            "x": problem.x,
            "h0": problem.h0,
            "weight": problem.module.weight_hh_l0,
            "gradient": problem.w_output,
        }[where]
        target[0, 0] = value
    flow = measured(problem)
    assert flow.nonfinite
    for found in flow.nonfinite:
        assert str(found)
        assert 0 <= found.step < case.steps
    for layer in flow.layers.values():
        assert layer.certificate >= 0 or math.isnan(layer.certificate)
        assert isinstance(layer.certificate_limit, float)
        names = [name for name in ("d_h", "d_c", "h", "c") if getattr(layer, name) is not None]
        for name in names:
            assert layer.norm(name).shape == layer.log10_norm(name).shape
            assert set(layer.category(name).flatten().tolist()) <= set(Category)
        assert layer.jacobian_norms().log10.shape[1] == layer.batch
        assert layer.horizon().kind in {"nonfinite", "too short", "zero"}
        assert str(layer.horizon())
        assert repr(layer)
