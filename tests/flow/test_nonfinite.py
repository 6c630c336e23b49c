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


def test_the_gate_in_which_a_gradient_overflows_is_named() -> None:
    """d_a_f = d_c * c_{t-1} * f (1 - f): c = 1e30 and d_c = 1e20 leave float32 there and first."""
    lstm = torch.nn.LSTM(1, 2)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
    h0 = torch.zeros(1, 3, 2)
    c0 = torch.ones(1, 3, 2)
    c0[0, 1, 0] = 1e30

    def run() -> torch.Tensor:
        _, (_, c_n) = lstm(torch.zeros(1, 3, 1), (h0, c0))
        return 1e20 * c_n.sum()

    (first,) = carousel.measure(lstm, run).nonfinite
    place = (first.layer, first.phase, first.step, first.sequence, first.quantity, first.value)
    assert place == ("l0", "backward", 0, 1, "d_a_f", "inf")
    assert "in d_a_f" in str(first)


def test_the_gate_of_a_gru_in_which_a_gradient_overflows() -> None:
    """d_a_z = d_h * (h_{t-1} - n) * z (1 - z), with h = 1e30."""
    gru = torch.nn.GRU(1, 2)
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter.zero_()
    h0 = torch.ones(1, 3, 2)
    h0[0, 2, 1] = 1e30
    x = torch.zeros(1, 3, 1)
    (first,) = carousel.measure(gru, lambda: 1e20 * gru(x, h0)[0].sum()).nonfinite
    assert (first.step, first.sequence, first.quantity, first.value) == (0, 2, "d_a_z", "inf")


@pytest.mark.parametrize("cell", CELLS)
def test_overflow_of_float32_on_the_way_back(cell: str) -> None:
    """Finite forward, growing backward: the first step beyond float32 is the one named."""
    problem = Problem(Case(cell=cell, steps=40, layers=1, batch=2), dtype=torch.float32)
    with torch.no_grad():
        problem.w_output.zero_()
        problem.w_output[-1] = 1e30
        for parameter in problem.module.parameters():
            parameter.zero_()
        # Around zero: an LSTM grows by 20 i o = 5 a step, a GRU by z + 20 (1 - z) r = 5.5.
        rows, factor = (slice(10, 15), 20.0) if cell in ("lstm", "gru") else (slice(5), 3.0)
        problem.module.weight_hh_l0[rows] = factor * torch.eye(5)
        if cell == "rnn_relu":
            problem.module.bias_ih_l0.fill_(1e-20)
    flow = measured(problem, "output")
    layer = flow["l0"]
    (first,) = flow.nonfinite
    assert (first.layer, first.phase, first.sequence, first.value) == ("l0", "backward", 0, "inf")
    totals = [name for name in ("d_h", "d_c") if getattr(layer, name) is not None]
    infinite = torch.stack([layer.category(name) == Category.INFINITE for name in totals])
    last = int(infinite.any(0).any(1).nonzero().max())
    # Either the total itself, or what it makes of a gate one step before the total has it.
    assert first.step - last == (1 if first.quantity.startswith("d_a") else 0)
    assert 5 < first.step < 39
    assert layer.log10_norm("d_h").isfinite().all()
    assert layer.h.isfinite().all()


def test_several_layers_are_named_in_the_order_of_computation() -> None:
    """Forward from the lowest layer up, backward from the highest down."""
    problem = Problem(Case(cell="gru", layers=3))
    problem.w_output[2, 1, 0] = math.nan
    backward = measured(problem, "output").nonfinite
    assert [found.layer for found in backward] == ["l2", "l1", "l0"]
    assert {found.phase for found in backward} == {"backward"}
    problem = Problem(Case(cell="gru", layers=3))
    problem.x[2, 1, 0] = math.nan
    found = measured(problem, "output").nonfinite
    forward = [each.layer for each in found if each.phase == "forward"]
    assert forward == ["l0", "l1", "l2"]
    assert [each.phase for each in found[:3]] == ["forward"] * 3
