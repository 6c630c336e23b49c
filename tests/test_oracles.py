"""The oracle is checked too: against torch.nn's results and gradients, and finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem, few, grid, sizes
from tests.oracles import finite_differences, loss_of_loop, references, run_loop
from tests.tolerances import assert_close
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

# Options that change the arithmetic; batch_first and the kind of loss do not.
ARITHMETIC = [case for case in grid() if not case.batch_first and case.state == "requires_grad"]
ARITHMETIC += sizes() + [replace(case, state="none", batch_first=True) for case in few()]


@pytest.mark.parametrize("case", ARITHMETIC, ids=lambda case: case.id)
def test_loop_equals_torch(case: Case) -> None:
    problem = Problem(case)
    output, h_n, c_n = problem.call()
    problem.loss_of("all", output, h_n, c_n).backward()
    loop = run_loop(problem)
    loss_of_loop(problem, loop, "all").backward()

    if isinstance(output, PackedSequence):
        output, _ = pad_packed_sequence(output, total_length=case.steps)
    elif case.batch_first and case.ragged == "no":
        output = output.transpose(0, 1)
    if case.ragged == "unbatched":
        output, h_n = output.unsqueeze(1), h_n.unsqueeze(1)
        c_n = None if c_n is None else c_n.unsqueeze(1)

    def same(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
        assert_close(actual, expected, case.steps, torch.float64, what)

    same(loop.output, output, "output")
    same(loop.h_n, h_n, "h_n")
    if c_n is not None:
        same(loop.c_n, c_n, "c_n")
    for name, parameter in problem.module.named_parameters():
        same(loop.parameters[name].grad, parameter.grad, name)
    if case.state == "requires_grad":
        for k, name in enumerate(case.layer_names):
            same(loop.recorded[name].h0.grad, problem.h0.grad[k], f"d_h0 of {name}")
            if problem.c0 is not None:
                same(loop.recorded[name].c0.grad, problem.c0.grad[k], f"d_c0 of {name}")


@pytest.mark.parametrize("case", grid()[::23] + few() + sizes(), ids=lambda case: case.id)
def test_gradients_of_the_cases_neither_die_nor_explode(case: Case) -> None:
    found, _ = references(Problem(case), "all")
    for name, reference in found.items():
        for quantity in ("d_h", "d_c"):
            gradient = getattr(reference, quantity)
            if gradient is None:
                continue
            norms = gradient.norm(dim=-1)
            assert norms[0, 0] > 1e-3, f"{quantity} of {name} died at the first step"
            assert norms.max() < 1e3, f"{quantity} of {name} exploded"


SMALL = [
    Case(cell="rnn_tanh", layers=2, bidirectional=True, ragged="unsorted", steps=3, hidden=3),
    Case(cell="rnn_relu", layers=1, state="given", steps=3, hidden=3),
    Case(cell="gru", layers=2, state="given", dropout=0.4, steps=3, hidden=3),
    Case(
        cell="lstm",
        layers=2,
        bidirectional=True,
        ragged="unsorted",
        state="given",
        steps=3,
        hidden=3,
    ),
    Case(cell="lstm", layers=2, projected=True, state="given", steps=3, hidden=3),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_loop_agrees_with_finite_differences(case: Case) -> None:
    problem = Problem(case)
    found, _ = references(problem, "all")
    pairs = {"h": "d_h", "h_outside": "d_h_injected", "c": "d_c", "c_outside": "d_c_injected"}
    for name in (case.layer_names[0], case.layer_names[-1]):
        for moved, quantity in pairs.items():
            expected = getattr(found[name], quantity)
            if expected is None:
                continue
            measured = finite_differences(problem, "all", name, moved)
            # Central differences with a step of 1e-5: truncation 1e-10, cancellation 1e-11.
            torch.testing.assert_close(measured, expected, rtol=1e-7, atol=1e-8)


def test_total_and_injected_of_the_doubling_chain() -> None:
    """x_t = 2 x_{t-1}, loss on the last of three steps: total [4, 2, 1], injected [0, 0, 1]."""
    case = Case(cell="rnn_relu", steps=3, batch=1, hidden=1, inputs=1, bias=False, state="given")
    problem = Problem(case)
    with torch.no_grad():
        problem.module.weight_hh_l0.fill_(2.0)
        problem.module.weight_ih_l0.zero_()
        problem.h0.fill_(1.0)
        problem.w_h_n.fill_(1.0)
    found, _ = references(problem, "h_n")
    assert found["l0"].d_h.flatten().tolist() == [4.0, 2.0, 1.0]
    assert found["l0"].d_h_injected.flatten().tolist() == [0.0, 0.0, 1.0]
