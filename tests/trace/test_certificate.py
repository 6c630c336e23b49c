"""The certificate is small for an honest replay, and says so when the replay is a wrong one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases import Case, Problem, few, long, sizes
from tests.tolerances import tolerance

import carousel
from carousel.trace._replay import gap_of_output

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
STACK = Case(cell="lstm", layers=2, bidirectional=True, projected=True, state="given", dropout=0.4)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def recorded_calls(watcher: Any) -> list[Any]:
    """Return the calls of the last recorded pass, with the copies of weights they will replay."""
    calls = list(watcher._last)
    assert calls
    return calls


HONEST = [(case, dtype) for case in few() + sizes()[::3] for dtype in DTYPES]
HONEST += [(case, dtype) for case in long()[::4] for dtype in (torch.float64, torch.float32)]


@pytest.mark.parametrize(
    ("case", "dtype"), HONEST, ids=lambda v: getattr(v, "id", None) or name_of(v)
)
def test_honest_replay(case: Case, dtype: torch.dtype) -> None:
    problem = Problem(case, dtype=dtype)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for name, layer in flow.layers.items():
        largest = max(1.0, float(layer.h.abs().max()))
        assert layer.certificate <= layer.certificate_limit, name
        assert layer.certificate <= tolerance(dtype, case.steps) * largest, name


@pytest.mark.parametrize("dtype", DTYPES, ids=name_of)
@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_a_corrupted_weight_shows(cell: str, dtype: torch.dtype) -> None:
    """Any weight of any layer, changed between the forward and the replay.

    By half of the largest state, since in bfloat16 less than a few hundredths of it is rounding.
    """
    case = Case(cell=cell, layers=2, projected=cell == "lstm", state="given")
    for layer, name in enumerate(case.layer_names):
        for weight in ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr"):
            problem = Problem(case, dtype=dtype)
            with carousel.watch(problem.module) as watcher:
                problem.loss("all").backward()
            (call,) = recorded_calls(watcher)
            tensor = getattr(call.weights.layers[layer], weight)
            if tensor is None:
                continue
            tensor.add_(max(1.0, 0.5 * float(problem.call()[0].detach().abs().max())))
            found = watcher.flow[name]
            assert found.certificate > found.certificate_limit, f"{weight} of {name}"


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_a_small_corruption_shows_in_its_size(cell: str) -> None:
    """The certificate is a distance, not a flag: a change of 1e-6 moves it to about 1e-6."""
    problem = Problem(Case(cell=cell, state="given"))
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
    recorded_calls(watcher)[0].weights.layers[0].w_hh.add_(1e-6)
    assert 1e-8 < watcher.flow["l0"].certificate < 1e-4


def test_one_corrupted_direction_shows_in_the_whole_stack() -> None:
    problem = Problem(Case(cell="gru", bidirectional=True, state="given"))
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
    recorded_calls(watcher)[0].weights.layers[1].w_hh.add_(0.5)
    flow = watcher.flow
    assert flow["l0_reverse"].certificate > 1e-3
    assert flow["l0"].certificate == flow["l0_reverse"].certificate


def test_wrong_dropout_masks_show() -> None:
    """Other random numbers than the forward drew: the layer above got another input."""
    problem = Problem(STACK)
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
    (call,) = recorded_calls(watcher)
    assert call.rng_state is not None
    torch.manual_seed(problem.case.seed + 1)
    call.rng_state = torch.get_rng_state()
    flow = watcher.flow
    assert flow["l1"].certificate > 1e-3
    # What is wrong above makes the gradient wrong below: no layer of the stack passes.
    assert flow["l0"].certificate > flow["l0"].certificate_limit


def test_a_wrong_input_or_state_shows() -> None:
    for field in ("x", "start"):
        problem = Problem(Case(cell="lstm", state="given"))
        with carousel.watch(problem.module) as watcher:
            problem.loss("all").backward()
        (call,) = recorded_calls(watcher)
        target = call.x if field == "x" else call.start[1]
        target.add_(0.3)
        assert watcher.flow["l0"].certificate > 1e-3, field


def test_a_corrupted_step_of_a_joined_loop_shows() -> None:
    """The certificate of a timeline is the largest of its calls."""
    problem = Problem(Case(cell="gru", state="given", steps=4))
    with carousel.watch(problem.module) as watcher:
        _, state = problem.module(problem.x[:2], problem.state)
        output, _ = problem.module(problem.x[2:], state)
        output.sum().backward()
    recorded_calls(watcher)[-1].x.add_(0.3)
    assert watcher.flow["l0"].certificate > 1e-3


def test_the_model_itself_may_change_without_a_trace() -> None:
    """The replay goes over copies: what happens to the model later does not reach it."""
    problem = Problem(Case(cell="lstm", layers=2, state="given"))
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
    with torch.no_grad():
        for parameter in problem.module.parameters():
            parameter.fill_(float("nan"))
    for layer in watcher.flow.layers.values():
        assert layer.certificate <= layer.certificate_limit


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_a_replay_that_is_nan_where_the_module_was_not_shows(cell: str) -> None:
    problem = Problem(Case(cell=cell, state="given"))
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
    recorded_calls(watcher)[0].weights.layers[0].w_hh[0, 0] = float("nan")
    layer = watcher.flow["l0"]
    assert problem.call()[0].isfinite().all()
    assert not layer.certificate <= layer.certificate_limit


def overflowing() -> torch.nn.RNN:
    """A ReLU network that grows by about 3 a step: in float32 infinite before step 90."""
    torch.manual_seed(0)
    model = torch.nn.RNN(7, 16, nonlinearity="relu")
    with torch.no_grad():
        model.weight_hh_l0.copy_(3 * torch.eye(16))
    return model


@pytest.mark.parametrize("own", [False, True], ids=["torch", "carousel"])
def test_infinity_is_told_and_is_no_missed_replay(own: bool) -> None:
    """One infinite state must not take the limit from all that is finite and large."""
    model: torch.nn.Module = overflowing()
    if own:
        model = torch.nn.Sequential(model)
        carousel.accelerate(model)
        model = model[0]
    with carousel.watch(model) as watcher:
        output = model(torch.randn(100, 32, 7))[0]
        output.sum().backward()
    layer = watcher.flow["l0"]
    finite = output.detach()[output.detach().isfinite()]
    assert finite.max() > 1e37
    assert not output.isfinite().all()
    assert layer.certificate <= layer.certificate_limit
    assert layer.certificate_limit >= torch.finfo(torch.float32).eps * float(finite.max())
    faults = carousel.Report(watcher.flow).faults
    assert "infinity first arises in the forward pass" in faults[0]
    assert not any("missed" in fault for fault in faults)


def test_a_wrong_replay_shows_beside_infinities() -> None:
    model = overflowing()
    with carousel.watch(model) as watcher:
        model(torch.randn(100, 32, 7))[0].sum().backward()
    (call,) = recorded_calls(watcher)
    call.weights.layers[0].w_hh.mul_(1.01)
    layer = watcher.flow["l0"]
    assert layer.certificate > layer.certificate_limit


@pytest.mark.parametrize("found", [1.0, float("inf"), float("nan")])
def test_a_gap_is_measured_where_the_output_is_finite(found: float) -> None:
    replayed = torch.tensor([[2.0, found], [2.0, 1.0]])
    for at_module in (float("inf"), -float("inf"), float("nan")):
        output = torch.tensor([[2.5, at_module], [2.0, 1.0]])
        assert gap_of_output(replayed, output).tolist() == [0.5, 0.0]
