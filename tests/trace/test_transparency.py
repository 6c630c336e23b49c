"""Watching changes nothing: results, gradients, random numbers, the model, and torch itself."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from tests.cases import Case, Problem, few, grid, sizes
from tests.oracles import assert_flow, references
from tests.tolerances import assert_identical
from torch import nn
from torch.nn.modules import module as torch_module

import carousel

FLOAT64 = torch.float64


def check(problem: Problem, loss: str) -> None:
    expected = problem.everything(loss)
    with carousel.watch(problem.module) as watcher:
        assert_identical(problem.everything(loss), expected)
        state = torch.get_rng_state()
        assert len(watcher.flow) == len(problem.case.layer_names)
        assert torch.equal(torch.get_rng_state(), state), "reading the flow drew random numbers"
    assert_identical(problem.everything(loss), expected)


# The whole grid runs in float64 beside the test of exactness. In float32 the LSTM takes oneDNN's
# route; the others have only one.
SINGLE = [case for k, case in enumerate(grid()) if case.cell == "lstm" or k % 3 == 0]


@pytest.mark.parametrize("case", SINGLE, ids=lambda case: f"{case.id}-{case.losses[0]}")
def test_bit_identical_in_float32(case: Case) -> None:
    problem = Problem(case, dtype=torch.float32)
    expected = problem.everything(case.losses[0])
    with carousel.watch(problem.module):
        assert_identical(problem.everything(case.losses[0]), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
@pytest.mark.parametrize("case", few() + sizes()[::5], ids=lambda case: case.id)
def test_bit_identical_in_other_dtypes(case: Case, dtype: torch.dtype) -> None:
    for loss in case.losses:
        check(Problem(case, dtype=dtype), loss)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_bit_identical_under_autocast(cell: str) -> None:
    problem = Problem(Case(cell=cell, layers=2, dropout=0.4, state="given"), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check(problem, "all")


@pytest.mark.parametrize("every", [1, 2])
def test_training_is_bit_identical(every: int) -> None:
    """Ten steps of Adam, chunks with detached state, dropout: the same weights at the end."""

    def train(*, watched: bool) -> list[torch.Tensor]:
        case = Case(cell="lstm", layers=2, dropout=0.4, state="given", steps=4)
        problem = Problem(case, dtype=torch.float32)
        optimizer = torch.optim.Adam(problem.module.parameters(), lr=0.01)
        torch.manual_seed(0)
        context = carousel.watch(problem.module, every=every) if watched else torch.enable_grad()
        with context as watcher:
            state = problem.state
            for _ in range(10):
                output, state = problem.module(problem.x, state)
                optimizer.zero_grad()
                (problem.w_output * output).sum().backward()
                if watched:
                    assert watcher.flow["l1"].d_h.abs().max() > 0
                optimizer.step()
                state = tuple(part.detach() for part in state)
        return [parameter.detach().clone() for parameter in problem.module.parameters()]

    for one, other in zip(train(watched=True), train(watched=False), strict=True):
        assert torch.equal(one, other)


def test_weights_whose_reading_changes_them_are_refused() -> None:
    """Reading a weight under spectral norm moves its buffers: only the model itself may do so."""
    cell = nn.utils.parametrizations.spectral_norm(nn.RNNCell(2, 5), "weight_hh")
    with pytest.raises(
        carousel.CarouselError, match=r"cell\.weight_hh is parametrized by _Spectral"
    ):
        carousel.watch(nn.ModuleDict({"cell": cell}))


def test_weights_that_are_computed_anew_at_each_use() -> None:
    def train(*, watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        cell = nn.utils.parametrizations.weight_norm(nn.RNNCell(2, 5), "weight_hh")
        model = nn.ModuleDict({"cell": cell})
        with carousel.watch(model) if watched else torch.enable_grad():
            h = torch.zeros(3, 5)
            for _ in range(4):
                h = cell(torch.ones(3, 2), h)
            h.sum().backward()
        found = [h.detach(), *(buffer.clone() for buffer in model.buffers())]
        return found + [parameter.grad.clone() for parameter in model.parameters()]

    for one, other in zip(train(watched=True), train(watched=False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
@pytest.mark.parametrize("loss", ["output", "h_n"])
def test_second_derivatives_are_those_of_the_plain_model(cell: str, loss: str) -> None:
    """A gradient penalty goes backward through the backward pass, under our hooks too."""
    problem = Problem(Case(cell=cell, layers=2, state="requires_grad"))

    def penalty() -> list[torch.Tensor]:
        problem.module.zero_grad()
        value = problem.loss(loss)
        (first,) = torch.autograd.grad(value, problem.h0, create_graph=True)
        (first**2).sum().backward()
        return [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            for parameter in problem.module.parameters()
        ]

    expected = penalty()
    with carousel.watch(problem.module):
        actual = penalty()
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


def test_measure_leaves_the_model_as_it_was() -> None:
    """Gradients, buffers, mode and random numbers are what they were before."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = Problem(Case(cell="lstm", layers=2, dropout=0.4)).module
            self.norm = nn.BatchNorm1d(5).to(FLOAT64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output, _ = self.lstm(x)
            return self.norm(output[-1])

    torch.manual_seed(3)
    model, x = Model(), torch.randn(4, 3, 2, dtype=FLOAT64)
    model(x).square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    state = torch.get_rng_state()
    carousel.measure(model, (x, torch.zeros(3, 5, dtype=FLOAT64)), nn.functional.mse_loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    for buffer, before in zip(model.buffers(), buffers, strict=True):
        assert torch.equal(buffer, before)


def global_hooks() -> dict[str, list[object]]:
    """Return the contents of every hook dictionary that torch.nn keeps for all modules."""
    return {
        name: list(value.items())
        for name, value in vars(torch_module).items()
        if name.startswith("_global_") and isinstance(value, dict)
    }


def module_state(model: nn.Module) -> list[dict[str, object]]:
    """Return the attributes of every module, hook dictionaries written out."""
    return [
        {
            name: list(value) if isinstance(value, dict) else id(value)
            for name, value in vars(module).items()
        }
        for module in model.modules()
    ]


def test_the_global_hooks_are_where_this_test_looks() -> None:
    handle = torch_module.register_module_forward_hook(lambda *_: None)
    try:
        assert any(global_hooks().values())
    finally:
        handle.remove()
    assert not any(global_hooks().values())


def test_no_hook_and_no_attribute_stays() -> None:
    problem = Problem(Case(cell="lstm", layers=2, dropout=0.4, state="requires_grad"))
    hooks, state = global_hooks(), module_state(problem.module)
    with carousel.watch(problem.module):
        problem.loss("all").backward()
        assert module_state(problem.module) == state
    assert global_hooks() == hooks
    assert module_state(problem.module) == state


@pytest.mark.parametrize("where", ["forward", "between", "backward"])
def test_no_hook_stays_after_an_exception(where: str) -> None:
    problem = Problem(Case(cell="lstm", layers=2, dropout=0.4))
    hooks, state = global_hooks(), module_state(problem.module)

    def fail(*_: object) -> None:
        raise RuntimeError("planned")

    with pytest.raises(RuntimeError), carousel.watch(problem.module):  # noqa: PT012
        if where == "forward":
            problem.module(torch.zeros(4, 3, 7, dtype=FLOAT64))  # a wrong number of inputs
        loss = problem.loss("all")
        if where == "between":
            fail()
        problem.module.weight_hh_l0.register_hook(fail)
        loss.backward()
    problem.module.weight_hh_l0._backward_hooks = None
    assert global_hooks() == hooks
    assert module_state(problem.module) == state


def test_a_failed_pass_does_not_spoil_the_next() -> None:
    problem = Problem(Case(cell="lstm", layers=2, dropout=0.4, state="given"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        with pytest.raises(RuntimeError):
            problem.module(torch.zeros(4, 3, 7, dtype=FLOAT64))
        problem.loss("all").backward()
    assert_flow(watcher.flow, expected, FLOAT64)


def test_a_hook_of_the_user_stays_and_sees_the_same() -> None:
    problem = Problem(Case(cell="gru"))
    seen: list[torch.Tensor] = []
    problem.module.register_forward_hook(lambda _, __, result: seen.append(result[0].detach()))
    problem.loss("all")
    with carousel.watch(problem.module):
        problem.loss("all").backward()
    problem.loss("all")
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])


def test_nothing_is_recorded_after_exit() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    expected, _ = references(problem, "output")
    with carousel.watch(problem.module) as watcher:
        problem.loss("output").backward()
    problem.loss("h_n").backward()
    assert_flow(watcher.flow, expected, FLOAT64)


def test_a_graph_from_inside_run_backward_outside_is_not_recorded() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    with carousel.watch(problem.module) as watcher:
        loss = problem.loss("output")
    loss.backward()
    with pytest.raises(carousel.CarouselError, match="No backward pass"):
        _ = watcher.flow


def test_nothing_is_kept_alive_after_the_watcher() -> None:
    problem = Problem(Case(cell="lstm", layers=2))
    output = problem.call()[0]
    with carousel.watch(problem.module) as watcher:
        output = problem.call()[0]
        reference = weakref.ref(output)
        output.sum().backward()
        assert len(watcher.flow) == 2
    del output, watcher
    gc.collect()
    assert reference() is None


def test_forwards_without_backward_do_not_pile_up() -> None:
    """Evaluation with gradients on, loss by loss, must not grow the watcher."""
    problem = Problem(Case(cell="lstm", layers=2))
    with carousel.watch(problem.module):
        outputs = []
        for _ in range(3):
            output = problem.call()[0]
            outputs.append(weakref.ref(output))
        del output
        gc.collect()
        assert [reference() for reference in outputs] == [None] * 3


class Wrapped(nn.Module):
    """A model that can be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = Problem(Case(cell="lstm", layers=2, dropout=0.4)).module
        self.cell = nn.GRUCell(2, 3)


def test_state_dict_and_pickle_are_the_same_while_watching() -> None:
    model = Wrapped()
    plain, plain_dict = pickle.dumps(model), model.state_dict()
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    with carousel.watch(model):
        model.lstm(torch.ones(2, 1, 2, dtype=FLOAT64))[0].sum().backward()
        model.zero_grad()
        assert pickle.dumps(model) == plain
        assert list(model.state_dict()) == list(plain_dict)
        again = io.BytesIO()
        torch.save(model.state_dict(), again)
        assert again.getvalue() == saved.getvalue()
        loaded = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert module_names(loaded) == module_names(model)


def module_names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_modules()]


def test_a_deepcopy_is_not_watched() -> None:
    problem = Problem(Case(cell="lstm", layers=2, state="given"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
        twin = copy.deepcopy(problem.module)
        problem.loss("h_n", twin).backward()
        assert_flow(watcher.flow, expected, FLOAT64)
        for one, other in zip(twin.parameters(), problem.module.parameters(), strict=True):
            assert one is not other
            assert torch.equal(one, other)
        twin_state, state = module_state(twin)[0], module_state(problem.module)[0]
        assert twin_state.keys() == state.keys()


def test_another_model_is_not_recorded() -> None:
    watched = Problem(Case(cell="lstm", state="given"))
    other = Problem(Case(cell="lstm", state="given"), salt=1)
    expected, _ = references(watched, "all")
    with carousel.watch(watched.module) as watcher:
        watched.loss("all").backward()
        other.loss("all").backward()
    assert_flow(watcher.flow, expected, FLOAT64)


def test_two_watchers_of_one_model() -> None:
    problem = Problem(Case(cell="lstm", layers=2, dropout=0.4, state="given"))
    expected, _ = references(problem, "all")
    plain = problem.everything("all")
    with carousel.watch(problem.module) as one:
        with carousel.watch(problem.module) as other:
            assert_identical(problem.everything("all"), plain)
        assert_flow(other.flow, expected, FLOAT64, "inner")
    assert_flow(one.flow, expected, FLOAT64, "outer")


def test_two_watchers_of_one_loop_of_chunks() -> None:
    problem = Problem(Case(cell="gru", state="given", steps=4))
    with carousel.watch(problem.module) as one, carousel.watch(problem.module) as other:
        _, state = problem.module(problem.x[:2], problem.state)
        output, _ = problem.module(problem.x[2:], state)
        (problem.w_output[2:] * output).sum().backward()
    assert list(one.flow) == list(other.flow) == ["l0"]
    for name in ("d_h", "d_h_injected", "d_h0"):
        assert torch.equal(getattr(one.flow["l0"], name), getattr(other.flow["l0"], name))
    assert not one.flow["l0"].d_h_injected[:2].any()


def test_a_watcher_is_entered_once() -> None:
    problem = Problem(Case(cell="lstm"))
    hooks = global_hooks()
    with carousel.watch(problem.module) as watcher:
        with pytest.raises(carousel.CarouselError, match="already listening"):
            watcher.__enter__()
        problem.loss("all").backward()
    assert global_hooks() == hooks
    assert list(watcher.flow) == ["l0"]


def test_a_watcher_may_be_entered_again() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    watcher = carousel.watch(problem.module)
    for loss in ("output", "h_n"):
        with watcher:
            problem.loss(loss).backward()
        assert_flow(watcher.flow, references(problem, loss)[0], FLOAT64)


def test_frozen_weights_leave_no_gradient_anywhere() -> None:
    """A frozen module's output carries a graph while watched; no parameter must notice."""
    problem = Problem(Case(cell="lstm", layers=2))
    problem.module.requires_grad_(requires_grad=False)
    head = nn.Linear(5, 1).to(FLOAT64)

    def run() -> list[torch.Tensor]:
        head.zero_grad()
        output = problem.call()[0]
        value = head(output).square().sum()
        value.backward()
        return [output.detach(), value.detach(), head.weight.grad.clone()]

    expected = run()
    with carousel.watch(problem.module):
        actual = run()
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)
    assert all(parameter.grad is None for parameter in problem.module.parameters())
