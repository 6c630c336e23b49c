"""Where a state was carried over but its gradient was cut: found where it is, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.cases import Case, Problem
from tests.trace.own_layers import Own
from torch import nn
from torch.utils.checkpoint import checkpoint

import carousel
from carousel.flow import LayerFlow

FLOAT64 = torch.float64
CELLS = ("rnn_tanh", "lstm", "gru")
Between = Callable[[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]


def chunked(problem: Problem, between: Between, losses: tuple[int, ...] = (0, 1, 2)) -> LayerFlow:
    """Three chunks; the loss is on the outputs of some of them."""

    def run() -> torch.Tensor:
        state, loss = problem.state, torch.zeros((), dtype=FLOAT64)
        for number, x in enumerate(problem.x.split(2)):
            output, state = problem.module(x, state)
            if number in losses:
                loss = loss + output.square().sum()
            parts = between(state if isinstance(state, tuple) else (state,))
            state = parts if isinstance(state, tuple) else parts[0]
        return loss

    return carousel.measure(problem.module, run)["l0"]


def detached(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(part.detach() for part in parts)


def again_required(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Detached, and then through a graph that leads nowhere."""
    return tuple(part.detach().requires_grad_() * 1.0 for part in parts)


@pytest.mark.parametrize("kind", [Problem, Own])
@pytest.mark.parametrize("between", [detached, again_required])
@pytest.mark.parametrize("cell", CELLS)
def test_detached_states_are_cuts(cell: str, between: Between, kind: type[Problem]) -> None:
    layer = chunked(kind(Case(cell=cell, steps=6, state="given")), between)
    assert layer.boundaries == (2, 4)
    assert layer.cuts == (2, 4)
    assert any("detached before steps 2, 4" in note for note in layer.notes)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "between",
    [lambda parts: parts, lambda parts: tuple(part * 0.5 for part in parts)],
    ids=["as it is", "halved"],
)
def test_attached_states_are_none(cell: str, between: Between) -> None:
    layer = chunked(Problem(Case(cell=cell, steps=6, state="given")), between)
    assert layer.cuts == ()
    assert not any("detached" in note for note in layer.notes)


def test_a_loss_that_sends_nothing_back_cuts_nothing() -> None:
    """Every relu is off in the last chunk: exactly zero comes over an attached state."""
    rnn = nn.RNN(1, 2, nonlinearity="relu").to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.fill_(0.5)
    x = torch.ones(2, 1, 1, dtype=FLOAT64)

    def run() -> torch.Tensor:
        output, state = rnn(x)
        later, _ = rnn(-100 * x, state)
        return output.sum() + later.sum()

    layer = carousel.measure(rnn, run)["l0"]
    assert layer.boundaries == (2,)
    assert (layer.d_h[2:] != 0).any()
    assert torch.equal(layer.d_h[1], layer.d_h_injected[1])
    assert layer.cuts == ()
    assert layer.notes == ()


@pytest.mark.parametrize("state", ["h", "c"])
def test_a_part_of_the_state(state: str) -> None:
    def between(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        h, c = parts
        return (h.detach(), c) if state == "h" else (h, c.detach())

    layer = chunked(Problem(Case(cell="lstm", steps=6, state="given")), between)
    assert layer.cuts == (2, 4)
    assert any(f"{state} of the state was detached before steps 2, 4" in n for n in layer.notes)


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell])
def test_a_loop_over_a_cell(cell: type[nn.Module]) -> None:
    """Detached every third step."""

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell(2, 3).to(FLOAT64)

        def forward(self) -> torch.Tensor:
            torch.manual_seed(0)
            zeros = torch.zeros(2, 3, dtype=FLOAT64)
            state, loss = (zeros, zeros) if cell is nn.LSTMCell else zeros, 0.0
            for t in range(7):
                if t and t % 3 == 0:
                    state = detached(state) if isinstance(state, tuple) else state.detach()
                state = self.cell(torch.randn(2, 2, dtype=FLOAT64), state)
                loss = loss + (state[0] if isinstance(state, tuple) else state).square().sum()
            return loss

    model = Loop()
    layer = carousel.measure(model, model)["cell"]
    assert layer.boundaries == tuple(range(1, 7))
    assert layer.cuts == (3, 6)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("kind", [Problem, Own])
@pytest.mark.parametrize("cell", CELLS)
def test_truncated_training_has_a_cut_at_step_0(cell: str, kind: type[Problem], every: int) -> None:
    """One backward pass for each chunk: what was before belongs to an earlier pass."""
    problem = kind(Case(cell=cell, steps=6))
    state, cuts = None, []
    with carousel.watch(problem.module, every=every) as watcher:
        for number, x in enumerate(problem.x.split(2)):
            output, state = problem.module(x, state)
            output.square().sum().backward()
            if number % every == 0:
                cuts.append(watcher.flow["l0"].cuts)
                notes = watcher.flow["l0"].notes
            state = detached(state) if isinstance(state, tuple) else state.detach()
    assert cuts == [(), (0,), (0,)][::every]
    assert any("step 0 came detached" in note for note in notes)


def test_a_state_of_the_users_own_is_no_cut() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    with carousel.watch(problem.module) as watcher:
        for _ in range(2):
            problem.loss("all").backward()
            assert watcher.flow["l0"].cuts == ()
            assert watcher.flow["l0"].notes == ()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_checkpointing_is_no_cut(cell: str, *, reentrant: bool) -> None:
    problem = Problem(Case(cell=cell, steps=6))
    with carousel.watch(problem.module) as watcher:
        state = torch.zeros(1, 3, 5, dtype=FLOAT64, requires_grad=True)
        state = (state, state) if cell == "lstm" else state
        loss = torch.zeros((), dtype=FLOAT64)
        for x in problem.x.requires_grad_().split(2):
            output, state = checkpoint(problem.module, x, state, use_reentrant=reentrant)
            loss = loss + output.square().sum()
        loss.backward()
    for layer in watcher.flow.layers.values():
        assert layer.cuts == ()
        assert not any("detached" in note for note in layer.notes)


def test_reentrant_checkpointing_says_nothing() -> None:
    """It detaches every state itself and joins the gradients again where nobody can look."""
    problem = Problem(Case(cell="gru", steps=6))
    state = torch.zeros(1, 3, 5, dtype=FLOAT64, requires_grad=True)
    with carousel.watch(problem.module) as watcher:
        for x in problem.x.requires_grad_().split(2):
            output, state = checkpoint(problem.module, x, state, use_reentrant=True)
            output.square().sum().backward(retain_graph=True)
            assert watcher.flow["l0"].cuts == ()
            state = state.detach().requires_grad_()


def detached_every(chunk: int, chunks: int, between: Between = detached) -> carousel.Flow:
    torch.manual_seed(0)
    model, state = nn.LSTM(3, 8), None

    def run() -> torch.Tensor:
        nonlocal state
        loss = torch.zeros(())
        for _ in range(chunks):
            output, state = model(torch.randn(chunk, 4, 3), state)
            loss = loss + output.square().sum()
            state = between(state)
        return loss

    return carousel.measure(model, run)


def test_the_horizon_says_what_no_gradient_crosses() -> None:
    """The rate is the state's; the sentence, and every reader of it, names the cuts."""
    flow = detached_every(10, 3)
    horizon = flow["l0"].horizon()
    assert horizon.kind == "decaying"
    assert horizon.cuts == (10, 20)
    said = "the state was detached before steps 10, 20, and no gradient crosses there."
    assert said in str(horizon)
    assert said in str(flow.horizon())
    assert said in carousel.Report(flow).to_json()
    whole = detached_every(10, 3, between=lambda parts: parts)["l0"].horizon()
    assert (whole.rate, whole.cuts) == (horizon.rate, ())
    assert "detached" not in str(whole)


def test_many_cuts_are_counted() -> None:
    said = str(detached_every(4, 9)["l0"].horizon())
    assert "detached before steps 4, 8, 12, 16, 20 and 3 more, and no" in said


def test_one_state_detached_of_two_is_no_cut_of_the_horizon() -> None:
    layer = detached_every(10, 3, between=lambda parts: (parts[0].detach(), parts[1]))["l0"]
    assert layer.cuts == (10, 20)
    assert layer.horizon().cuts == ()
    assert "no gradient crosses" not in str(layer.horizon())


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU])
def test_a_cut_of_cells_without_c(cell: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    model = cell(3, 8)

    def run() -> torch.Tensor:
        output, state = model(torch.randn(20, 2, 3))
        return output.sum() + model(torch.randn(20, 2, 3), state.detach())[0].sum()

    horizon = carousel.measure(model, run)["l0"].horizon()
    assert "detached before step 20, and no gradient crosses there." in str(horizon)
