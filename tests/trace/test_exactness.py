"""The contract: every quantity equals autograd through a loop over the steps, for every option."""

from __future__ import annotations

import pytest
import torch
from tests.cases import Case, Problem, few, grid, long, sizes
from tests.oracles import Reference, assert_flow, finite_differences, references
from tests.tolerances import assert_identical

import carousel

FLOAT64 = torch.float64


def check(problem: Problem, loss: str) -> None:
    flow = carousel.measure(problem.module, lambda: problem.loss(loss))
    expected, _ = references(problem, loss)
    assert_flow(flow, expected, problem.dtype, f"{problem.case.id} with loss {loss}")


@pytest.mark.parametrize("case", grid(), ids=lambda case: f"{case.id}-{case.losses[0]}")
def test_grid(case: Case) -> None:
    """Exact, and nothing that the model computes is another bit than without watching."""
    problem, loss = Problem(case), case.losses[0]
    plain = problem.everything(loss)
    with carousel.watch(problem.module) as watcher:
        watched = problem.everything(loss)
    assert_identical(watched, plain)
    expected, _ = references(problem, loss)
    assert_flow(watcher.flow, expected, FLOAT64)


@pytest.mark.parametrize("case", few() + sizes(), ids=lambda case: case.id)
def test_every_loss_on_rich_and_edge_cases(case: Case) -> None:
    for loss in case.losses:
        check(Problem(case), loss)


@pytest.mark.parametrize("case", long(), ids=lambda case: case.id)
def test_many_steps(case: Case) -> None:
    for loss in ("output", "h_n"):
        check(Problem(case), loss)


def test_the_grid_holds_every_pair_of_options() -> None:
    """A loss is drawn for each case: make sure that none is missing beside any other option."""
    options = {
        (case.cell, case.layers, case.dropout > 0, case.bidirectional, case.ragged, case.losses[0])
        for case in grid()
    }
    # 3 losses for three cells and 4 for the LSTM, 3 depths, 2 directions, 4 kinds of raggedness.
    assert len(options) == (3 * 3 + 4) * 3 * 2 * 4


SMALL = [
    Case(cell="rnn_tanh", layers=2, bidirectional=True, ragged="unsorted", steps=3, hidden=3),
    Case(cell="gru", layers=2, batch_first=True, state="given", dropout=0.4, steps=3, hidden=3),
    Case(cell="lstm", layers=2, projected=True, state="given", steps=3, hidden=3),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_finite_differences_agree(case: Case) -> None:
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    pairs = {"d_h": "h", "d_h_injected": "h_outside", "d_c": "c", "d_c_injected": "c_outside"}
    for name in case.layer_names:
        for quantity, moved in pairs.items():
            actual = getattr(flow[name], quantity)
            if actual is None:
                continue
            measured = finite_differences(problem, "all", name, moved)
            # Central differences with a step of 1e-5: truncation 1e-10, cancellation 1e-11.
            torch.testing.assert_close(actual, measured, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_eval_mode(case: Case) -> None:
    problem = Problem(case)
    problem.module.eval()
    check(problem, "all")


def test_eval_mode_has_no_dropout() -> None:
    case = Case(cell="gru", layers=3, dropout=0.4, state="given")
    problem = Problem(case)
    problem.module.eval()
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    undropped = Problem(case)
    undropped.case = Case(cell="gru", layers=3, dropout=0.0, state="given")
    expected, _ = references(undropped, "all")
    assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_frozen_weights(case: Case) -> None:
    """With all parameters frozen autograd has nothing to do; the flow is there all the same."""
    problem = Problem(case)
    problem.module.requires_grad_(requires_grad=False)
    for state in (problem.h0, problem.c0):
        if state is not None:
            state.requires_grad_(requires_grad=False)
    expected, _ = references(problem, "all")
    assert_flow(carousel.measure(problem.module, lambda: problem.loss("all")), expected, FLOAT64)

    head = torch.ones((), dtype=FLOAT64, requires_grad=True)
    with carousel.watch(problem.module) as watcher:
        (problem.loss("all") * head).backward()
    assert_flow(watcher.flow, expected, FLOAT64, "watched")
    assert all(parameter.grad is None for parameter in problem.module.parameters())


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_an_input_that_requires_a_gradient(cell: str) -> None:
    problem = Problem(Case(cell=cell, layers=2, state="given"))
    expected, _ = references(problem, "all")
    problem.loss("all").backward()
    problem.x.requires_grad_()
    problem.module.requires_grad_(requires_grad=False)
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
    assert_flow(watcher.flow, expected, FLOAT64)
    assert problem.x.grad is not None
    assert problem.x.grad.abs().max() > 0


def _case_of(dtype: torch.dtype, case: Case) -> Problem:
    """Return a problem whose relu units stay clear of the kink, which rounding could cross."""
    for salt in range(200):
        problem = Problem(case, dtype=dtype, salt=salt)
        if case.cell != "rnn_relu" or dtype != torch.bfloat16:
            return problem
        found, _ = references(problem, "all")
        margins = [ref.pre_activations["h"][ref.valid].abs().min() for ref in found.values()]
        if min(margins) > 0.02:
            return problem
    message = f"no weights keep {case.id} clear of the kink"
    raise AssertionError(message)


LOWER = [case for case in few() + sizes()[::4] if case.cell != "rnn_relu"]
LOWER += [
    Case(cell="rnn_relu", ragged=r, state="given", batch=2, hidden=3, steps=3)
    for r in ("no", "unsorted")
]
LOWER += [Case(cell=cell, layers=2, dropout=0.4, losses=("all",)) for cell in ("lstm", "gru")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", LOWER, ids=lambda case: case.id)
def test_lower_precision(case: Case, dtype: torch.dtype) -> None:
    for loss in case.losses:
        check(_case_of(dtype, case), loss)


@pytest.mark.parametrize("case", LOWER, ids=lambda case: case.id)
def test_autocast(case: Case) -> None:
    """The oracle computes in float64 what autocast computes in bfloat16: bfloat16's tolerance."""
    problem = _case_of(torch.bfloat16, case)
    rounded, problem = problem, Problem(case, dtype=torch.float32)
    for name in ("x", "h0", "c0", "w_output", "w_h_n", "w_c_n"):
        value = getattr(rounded, name)
        setattr(problem, name, None if value is None else value.detach().float())
    problem.module.load_state_dict(rounded.module.state_dict())

    def run() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return problem.loss("all")

    flow = carousel.measure(problem.module, run)
    expected, _ = references(problem, "all")
    assert_flow(flow, expected, torch.bfloat16, "autocast")


def _by_name(prefix: str, found: dict[str, Reference]) -> dict[str, Reference]:
    return {f"{prefix}.{name}": reference for name, reference in found.items()}


class Two(torch.nn.Module):
    """Two recurrent modules side by side, one of them deep inside."""

    def __init__(self, first: Problem, second: Problem) -> None:
        super().__init__()
        self.encoder = torch.nn.ModuleDict({"lstm": first.module})
        self.gru = second.module
        self.problems = (first, second)

    def forward(self) -> torch.Tensor:
        first, second = self.problems
        return first.loss("all") + second.loss("all")


def test_several_recurrent_modules() -> None:
    first = Problem(Case(cell="lstm", layers=2, bidirectional=True, state="given"))
    second = Problem(Case(cell="gru", ragged="unsorted"))
    expected = _by_name("encoder.lstm", references(first, "all")[0])
    expected |= _by_name("gru", references(second, "all")[0])
    model = Two(first, second)
    assert_flow(carousel.measure(model, model), expected, FLOAT64)
    with carousel.watch(model) as watcher:
        model().backward()
    assert_flow(watcher.flow, expected, FLOAT64)


def test_a_module_that_the_loss_does_not_reach_is_not_in_the_flow() -> None:
    first, second = Problem(Case(cell="lstm")), Problem(Case(cell="gru"))
    model = Two(first, second)
    with carousel.watch(model) as watcher:
        first.loss("all")
        second.loss("all").backward()
    assert list(watcher.flow) == ["gru.l0"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: cuDNN's forward is not checked")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", few() + sizes()[::3], ids=lambda case: case.id)
def test_cuda(case: Case, dtype: torch.dtype) -> None:
    for loss in case.losses:
        check(Problem(case, dtype=dtype, device="cuda"), loss)
