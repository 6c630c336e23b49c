"""The derivative of a step as a linear map: by hand, by autograd, and where calls meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import step_jacobians
from tests.tolerances import assert_close
from tests.trace.own_layers import CELLS, Own

import carousel
from carousel.flow import LayerFlow
from carousel.flow._tangent import BLOCK, Tangent, _ByAutograd, tangent_of
from carousel.trace import Trace

FLOAT64 = torch.float64
CASES = [
    Case(cell=cell, projected=projected, ragged=ragged, layers=2, bidirectional=True, state="given")
    for cell, projected in [
        ("rnn_tanh", False),
        ("gru", False),
        ("lstm", False),
        ("lstm", True),
    ]
    for ragged in ("no", "unsorted")
]


def layers_of(problem: Problem) -> dict[str, LayerFlow]:
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    return {name: flow[name] for name in problem.case.layer_names}


def maps(trace: Trace) -> dict[str, Tangent]:
    return {"by hand": tangent_of(trace, FLOAT64), "by autograd": _ByAutograd(trace, FLOAT64)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_way_is_the_jacobian_of_the_equations(case: Case) -> None:
    """Steps in the order of the input, in both directions, wherever a sequence has the step."""
    problem = Problem(case)
    generator = torch.Generator().manual_seed(0)
    for name, layer in layers_of(problem).items():
        expected = step_jacobians(problem, name)
        for how, tangent in maps(layer.trace).items():
            size = tangent.size
            many = torch.randn(layer.batch, size, 40, generator=generator, dtype=FLOAT64)
            for t in range(layer.steps):
                there = [b for b in range(layer.batch) if t in expected[b]]
                j = torch.stack([expected[b][t] for b in there])
                what = f"J_{t} of {name} {how}"
                assert_close(tangent.jacobian(t)[there], j, case.steps, FLOAT64, what)
                # One, a few and many: each of them goes another way inside.
                for q in (many[..., :1], many[..., :3], many):
                    pushed = tangent.push(t, q)
                    assert_close(pushed[there], j @ q[there], case.steps, FLOAT64, f"push {what}")
                    pulled = tangent.pull(t, q.mT)
                    back = q[there].mT @ j
                    assert_close(pulled[there], back, case.steps, FLOAT64, f"pull {what}")


@pytest.mark.parametrize("cell", CELLS)
def test_own_layers(cell: str) -> None:
    problem = Own(Case(cell=cell, state="given"))
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    expected = step_jacobians(problem, "l0")
    for tangent in maps(layer.trace).values():
        for t in range(layer.steps):
            j = torch.stack([own[t] for own in expected])
            assert_close(tangent.jacobian(t), j, 4, FLOAT64, f"J_{t} of {cell}")


def test_any_order_of_steps() -> None:
    """Blocks of steps are held; asking back and forth beyond them gives the same as in order."""
    problem = Problem(Case(cell="lstm", steps=2 * BLOCK + 3, state="given", hidden=3))
    layer = layers_of(problem)["l0"]
    in_order = tangent_of(layer.trace, FLOAT64)
    expected = [in_order.jacobian(t) for t in range(layer.steps)]
    v = torch.eye(6, dtype=FLOAT64).expand(3, -1, -1)
    for t in (130, 0, 64, 63, 127, 128, 5):
        assert torch.equal(in_order.jacobian(t), expected[t])
        torch.testing.assert_close(in_order.pull(t, v), expected[t], rtol=0, atol=1e-14)
        torch.testing.assert_close(in_order.push(t, v), expected[t], rtol=0, atol=1e-14)


@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_boundaries_of_calls(factor: float) -> None:
    """Zero where the state was reset, NaN where it was changed, unchanged where it was carried."""
    problem = Problem(Case(cell="lstm", state="given"))
    trace = layers_of(problem)["l0"].trace
    handed_over = torch.tensor([[1.0, factor, 1.0], [1.0, 1.0, 1.0]])
    broken = replace(trace, boundaries=(2, 3), handed_over=handed_over)
    whole = tangent_of(trace, FLOAT64)
    q = torch.ones(3, whole.size, 1, dtype=FLOAT64)
    for tangent in maps(broken).values():
        for found, expected in (
            (tangent.jacobian(2), whole.jacobian(2)),
            (tangent.push(2, q), whole.push(2, q)),
            (tangent.pull(2, q.mT), whole.pull(2, q.mT)),
        ):
            torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=0, atol=1e-14)
            assert bool(found[1].isnan().all() if factor else not found[1].any())
        torch.testing.assert_close(tangent.jacobian(3), whole.jacobian(3), rtol=0, atol=1e-14)


def test_float32_traces_keep_their_dtype() -> None:
    problem = Problem(Case(cell="gru", state="given"), dtype=torch.float32)
    trace = layers_of(problem)["l0"].trace
    q = torch.ones(3, 5, 1)
    assert tangent_of(trace).push(1, q).dtype == torch.float32
    assert tangent_of(trace, FLOAT64).push(1, q.double()).dtype == FLOAT64
    assert _ByAutograd(trace, FLOAT64).pull(1, q.double().mT).dtype == FLOAT64
