"""Own layers, heard: several calls in one pass, several passes through one call, odd passes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from tests.cases import Case
from tests.lstm_family import LSTM
from tests.oracles import assert_flow, references
from tests.trace.own_layers import (
    CELLS,
    TORCH,
    Own,
    assert_equal_flows,
    flow_of,
    heard,
    replayed,
    rich,
)
from tests.trace.test_calls import chunk_references, detached_leaf, joined, numbered, run_chunks
from torch.utils.checkpoint import checkpoint

import carousel

FLOAT64 = torch.float64
FEW = ("lstm", "lstm_peephole", "lstm_nog", "gru", "rnn_tanh")  # other ways through the code
each_cell = pytest.mark.parametrize("cell", FEW)


def chunked(cell: str, **more: object) -> Own:
    return Own(Case(cell=cell, layers=2, state="requires_grad", steps=5, **more))


def same(state: torch.Tensor) -> torch.Tensor:
    return state


@pytest.mark.parametrize("chunks", [(2, 3), (3, 2), (1, 1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_carried_state_is_one_timeline(cell: str, chunks: tuple[int, ...]) -> None:
    problem = chunked(cell, batch_first=cell == "gru")
    expected = joined(chunk_references(problem, chunks, same))
    with heard(len(chunks)):
        flow = flow_of(problem.module, lambda: run_chunks(problem, chunks, same))
    assert_flow(flow, expected, FLOAT64)
    with replayed():
        again = flow_of(problem.module, lambda: run_chunks(problem, chunks, same))
    assert_flow(again, expected, FLOAT64)
    assert_equal_flows(flow, again)
    assert all(not layer.notes for layer in flow.layers.values())


@each_cell
def test_a_projected_state_is_carried(cell: str) -> None:
    if cell not in LSTM:
        return
    problem = chunked(cell, projected=True, dropout=0.4)
    expected = joined(chunk_references(problem, (2, 3), same))
    with heard(2):
        flow = flow_of(problem.module, lambda: run_chunks(problem, (2, 3), same))
    assert_flow(flow, expected, FLOAT64)


@each_cell
@pytest.mark.parametrize("between", [torch.Tensor.detach, detached_leaf], ids=["plain", "leaf"])
def test_detached_state_is_one_timeline_with_a_cut(
    cell: str, between: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    problem = chunked(cell)
    expected = joined(chunk_references(problem, (2, 3), detached_leaf))
    with heard(2):
        flow = flow_of(problem.module, lambda: run_chunks(problem, (2, 3), between))
    assert_flow(flow, expected, FLOAT64)
    assert all("detached before step 2" in layer.notes[0] for layer in flow.layers.values())


@each_cell
def test_state_changed_between_chunks(cell: str) -> None:
    def between(state: torch.Tensor) -> torch.Tensor:
        return torch.tanh(-0.5 * state) + 0.1

    problem = chunked(cell)
    expected = joined(chunk_references(problem, (2, 1, 2), between))
    with heard(3):
        flow = flow_of(problem.module, lambda: run_chunks(problem, (2, 1, 2), between))
    assert_flow(flow, expected, FLOAT64)


@each_cell
def test_unrelated_and_bidirectional_calls_are_numbered(cell: str) -> None:
    def fresh(state: torch.Tensor) -> torch.Tensor:
        return torch.full_like(state, 0.3, requires_grad=True)

    for between, problem in (
        (fresh, chunked(cell)),
        (same, chunked(cell, bidirectional=True)),
    ):
        expected = numbered(chunk_references(problem, (2, 3), between))
        with heard(2):
            flow = flow_of(problem.module, lambda p=problem, b=between: run_chunks(p, (2, 3), b))
        assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("which", [0, 1])
@each_cell
def test_a_loss_on_c_in_one_chunk_only(cell: str, which: int) -> None:
    """What arrives at c in the one call is not missing, and nothing arrives in the other."""
    if cell not in LSTM:
        return
    problem = chunked(cell)

    def loss() -> torch.Tensor:
        first, (h, c) = problem.module(problem.x[:2], problem.state)
        second, (_, c_n) = problem.module(problem.x[2:], (h.detach(), c.detach()))
        total = (problem.w_output * torch.cat([first, second])).sum()
        return total + (problem.w_c_n * (c, c_n)[which]).sum()

    with heard(2):
        flow = flow_of(problem.module, loss)
    with replayed():
        assert_equal_flows(flow, flow_of(problem.module, loss))
    for k, layer in enumerate(flow.layers.values()):
        wanted = torch.zeros_like(layer.d_c)
        wanted[1 if which == 0 else 4] = problem.w_c_n[k]
        assert torch.equal(layer.d_c_injected, wanted)


@each_cell
def test_a_small_loss_beside_what_a_later_call_sends(cell: str) -> None:
    """1e-3 injected at a step to which a later call sends 1e+6: its digits are still there."""
    problem = Own(Case(cell=cell, state="given", steps=5))
    small, big = 1e-3 * torch.ones(3, 5, dtype=FLOAT64), 1e6

    def loss() -> torch.Tensor:
        output, state = problem.module(problem.x[:2], problem.state)
        rest, _ = problem.module(problem.x[2:], state)
        return (small * output[-1]).sum() + big * (problem.w_output[2:] * rest).sum()

    with heard(2):
        layer = flow_of(problem.module, loss)["l0"]
    assert layer.d_h[1].abs().max() > 1e3
    assert torch.equal(layer.d_h_injected[1], small)


@pytest.mark.parametrize("cell", TORCH)
def test_shared_by_calls_in_a_tree(cell: str) -> None:
    """Two futures of one past, and a state that serves something else too: as torch's layer."""
    problem = Own(Case(cell=cell, state="given", steps=4))

    def loss(module: torch.nn.Module) -> torch.Tensor:
        output, state = module(problem.x[:2], problem.state)
        one, h = module(problem.x[2:], state)
        other, _ = module(-problem.x[2:], state)
        last = h[1] if isinstance(h, tuple) else h
        return (output**2).sum() + (one * problem.w_output[2:]).sum() + other.sum() + last.sum()

    twin = problem.twin
    with heard(3):
        flow = flow_of(problem.module, lambda: loss(problem.module))
    assert_equal_flows(flow, flow_of(twin, lambda: loss(twin)))


@each_cell
def test_two_passes_through_one_forward(cell: str) -> None:
    """With retain_graph: each pass has a flow of its own."""
    problem = Own(rich(cell))
    with carousel.watch(problem.module) as watcher:
        results = problem.call()
        for loss in ("output", "h_n", "all"):
            problem.loss_of(loss, *results).backward(retain_graph=True)
            with heard():
                flow = watcher.flow
            assert_flow(flow, references(problem, loss)[0], FLOAT64, loss)


@each_cell
def test_an_earlier_pass_is_not_mixed_with_a_later_one(cell: str) -> None:
    """every=2: the second pass through the same graph goes unrecorded, and does not disturb."""
    problem = Own(rich(cell))
    with carousel.watch(problem.module, every=2) as watcher:
        results = problem.call()
        problem.loss_of("output", *results).backward(retain_graph=True)
        problem.call()[0].sum().backward()
        assert watcher.passes_recorded == 1
        assert_flow(watcher.flow, references(problem, "output")[0], FLOAT64)


@each_cell
def test_every_other_pass(cell: str) -> None:
    problem = Own(rich(cell))
    with carousel.watch(problem.module, every=3) as watcher:
        for step, loss in enumerate(("output", "h_n", "all", "h_n", "output")):
            problem.loss(loss).backward()
            with torch.no_grad():
                problem.call()
            expected = "output" if step < 3 else "h_n"
            with heard():
                watcher._flow = None
                flow = watcher.flow
            assert_flow(flow, references(problem, expected)[0], FLOAT64)
        assert watcher.passes_recorded == 2


@each_cell
def test_calls_without_gradients_between(cell: str) -> None:
    problem = Own(rich(cell))
    expected, _ = references(problem, "all")

    def loss() -> torch.Tensor:
        with torch.no_grad():
            problem.call()
        value = problem.loss("all")
        with torch.inference_mode():
            problem.call()
        return value

    with heard():
        assert_flow(flow_of(problem.module, loss), expected, FLOAT64)


@pytest.mark.parametrize("reentrant", [False, True])
@each_cell
def test_gradient_checkpointing_of_torch(cell: str, *, reentrant: bool) -> None:
    problem = Own(rich(cell, dropout=0.4))
    problem.x.requires_grad_()
    # The older kind passes no gradient to tensors inside of tuples, as (h_n, c_n) are.
    kind = "output" if reentrant else "all"
    expected, _ = references(problem, kind)

    def loss() -> torch.Tensor:
        torch.manual_seed(problem.case.seed)
        output, state = checkpoint(
            problem.module, problem.input, problem.state, use_reentrant=reentrant
        )
        h_n, c_n = state if problem.has_c else (state, None)
        return problem.loss_of(kind, output, h_n, c_n)

    with heard():
        assert_flow(flow_of(problem.module, loss), expected, FLOAT64)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cell", TORCH)
def test_checkpointed_chunks(cell: str, *, reentrant: bool) -> None:
    problem = Own(Case(cell=cell, layers=2, state="requires_grad", steps=5))
    problem.x.requires_grad_()

    def loss(module: torch.nn.Module) -> torch.Tensor:
        state, total = problem.state, 0.0
        for x, w in ((problem.x[:2], problem.w_output[:2]), (problem.x[2:], problem.w_output[2:])):
            output, state = checkpoint(module, x, state, use_reentrant=reentrant)
            total = total + (w * output).sum()
        return total

    twin = problem.twin
    flow = flow_of(problem.module, lambda: loss(problem.module))
    assert_equal_flows(flow, flow_of(twin, lambda: loss(twin)))


@pytest.mark.parametrize("cell", CELLS)
def test_a_pass_that_is_itself_differentiable(cell: str) -> None:
    problem = Own(rich(cell))
    expected, _ = references(problem, "all")
    with heard(), carousel.watch(problem.module) as watcher:
        torch.autograd.grad(problem.loss("all"), problem.h0, create_graph=True)
        flow = watcher.flow
    assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("cell", TORCH)
def test_a_gradient_penalty(cell: str) -> None:
    """Second derivatives are those of the layer unwatched, and those of torch."""
    problem = Own(rich(cell))

    def penalty(module: torch.nn.Module) -> list[torch.Tensor]:
        module.zero_grad()
        value = problem.loss("all", module)
        (first,) = torch.autograd.grad(value, problem.h0, create_graph=True)
        ((first**2).sum() + value).backward()
        return [parameter.grad.clone() for parameter in module.parameters()]

    plain, twins = penalty(problem.module), penalty(problem.twin)
    with carousel.watch(problem.module) as watcher:
        found = penalty(problem.module)
    for one, other, twin in zip(found, plain, twins, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, twin, rtol=1e-9, atol=1e-9)
    assert any("create_graph" in note for note in watcher.flow.notes)


@each_cell
def test_a_hook_that_changes_gradients(cell: str) -> None:
    problem = Own(rich(cell))
    expected, _ = references(problem, "output")

    def doubled() -> torch.Tensor:
        output = problem.call()[0]
        output.register_hook(lambda gradient: 2 * gradient)
        return 0.5 * (problem.w_output * output).sum()

    with heard():
        flow = flow_of(problem.module, doubled)
    assert_flow(flow, expected, FLOAT64)
    assert all("hook of yours" in layer.notes[0] for layer in flow.layers.values())


@each_cell
def test_full_backward_hooks_of_the_module(cell: str) -> None:
    problem = Own(rich(cell))
    problem.x.requires_grad_()
    expected, _ = references(problem, "all")
    seen: list[int] = []
    problem.module.register_full_backward_hook(lambda *_: seen.append(1))
    assert_flow(flow_of(problem.module, lambda: problem.loss("all")), expected, FLOAT64)
    assert seen == [1]


@each_cell
def test_what_the_user_writes_over_afterwards(cell: str) -> None:
    """Weights by an optimizer, the state and the output in place: the flow is of what was."""
    problem = Own(Case(cell=cell, state="given", steps=5, projected=cell == "lstm"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        results = problem.call()
        problem.loss_of("all", *results).backward()
    with torch.no_grad():
        for tensor in (*results, problem.h0, problem.c0, problem.x, *problem.module.parameters()):
            if tensor is not None:
                tensor.fill_(7.0)
    with heard():
        flow = watcher.flow
    assert_flow(flow, expected, FLOAT64)
    assert flow["l0"].certificate <= 1e-13


def test_two_threads() -> None:
    """Each hears its own model, though both run at once."""
    problems = [Own(rich("lstm_peephole")), Own(rich("gru"))]
    wanted = [references(problem, "all")[0] for problem in problems]
    together, failed = threading.Barrier(2), []

    def work(problem: Own, expected: dict) -> None:
        try:
            with carousel.watch(problem.module) as watcher:
                for _ in range(20):
                    together.wait(timeout=60)
                    output, state = problem.module(problem.input, problem.state)
                    h_n, c_n = state if problem.has_c else (state, None)
                    problem.loss_of("all", output, h_n, c_n).backward()
                    assert_flow(watcher.flow, expected, FLOAT64)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
            failed.append(error)
            together.abort()

    with heard(40):
        threads = [
            threading.Thread(target=work, args=pair) for pair in zip(problems, wanted, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed, failed


@each_cell
def test_two_watchers_of_one_layer(cell: str) -> None:
    problem = Own(rich(cell, dropout=0.4))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as one, carousel.watch(problem.module) as other:
        problem.loss("all").backward()
    assert_flow(one.flow, expected, FLOAT64)
    assert_flow(other.flow, expected, FLOAT64)
