"""nn.RNNCell, LSTMCell and GRUCell in a loop of the user's own: the loop is the timeline.

What comes back from step t+1 came through time, whatever the user did to the state in between; what
the loss or another module sends to h_t is injected. The oracle keeps the two apart with an identity
copy of each state for everybody but the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tests.cases import random_weights_
from tests.oracles import (
    Recorded,
    Reference,
    Step,
    assert_flow,
    parameters_of,
    reference_of,
    step_of,
)
from torch import nn

import carousel

FLOAT64 = torch.float64
T, B, INPUTS, H = 5, 3, 2, 5
CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")

States = tuple[torch.Tensor, ...]
Between = Callable[[States, int], States]


def make_cell(cell: str, *, inputs: int = INPUTS, bias: bool = True, seed: int = 0) -> nn.Module:
    if cell == "lstm":
        module: nn.Module = nn.LSTMCell(inputs, H, bias=bias)
    elif cell == "gru":
        module = nn.GRUCell(inputs, H, bias=bias)
    else:
        module = nn.RNNCell(inputs, H, bias=bias, nonlinearity=cell.removeprefix("rnn_"))
    module = module.to(FLOAT64)
    random_weights_(module, cell, torch.Generator().manual_seed(seed))
    return module


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


@dataclass
class Data:
    """Inputs, initial states, and the weights of a loss at each step."""

    cell: str
    batch: int | None = B

    def __post_init__(self) -> None:
        batch = () if self.batch is None else (self.batch,)
        self.x = randn(T, *batch, INPUTS, seed=1)
        count = 2 if self.cell == "lstm" else 1
        self.start = tuple(0.7 * randn(*batch, H, seed=2 + k) for k in range(count))
        self.w = randn(T, *batch, H, seed=4)
        self.w_c = randn(T, *batch, H, seed=5)
        self.done = torch.rand(T, *batch, 1, generator=torch.Generator().manual_seed(6)) < 0.35
        self.keep = (~self.done).to(FLOAT64)


def states_of(result: object) -> States:
    return result if isinstance(result, tuple) else (result,)


def argument(states: States) -> object:
    return states if len(states) > 1 else states[0]


class Actor(nn.Module):
    """A user's model: a cell in its own loop; ``between`` is what happens to the state."""

    def __init__(self, cell: nn.Module, between: Between, *, keyword: bool = False) -> None:
        super().__init__()
        self.actor = nn.ModuleDict({"cell": cell})
        self.between, self.keyword = between, keyword

    def forward(self, data: Data) -> torch.Tensor:
        states, loss = data.start, torch.zeros((), dtype=FLOAT64)
        cell = self.actor["cell"]
        for t in range(T):
            states = self.between(states, t)
            if self.keyword:
                states = states_of(cell(data.x[t], hx=argument(states)))
            else:
                states = states_of(cell(data.x[t], argument(states)))
            loss = loss + step_loss(data, states, t)
        return loss


def step_loss(data: Data, states: States, t: int) -> torch.Tensor:
    loss = (data.w[t] * states[0]).sum()
    return loss + (data.w_c[t] * states[1]).sum() if len(states) > 1 else loss


def one_step(
    cell: str, weights: dict, x: torch.Tensor, states: States, recorded: Recorded
) -> tuple[States, States]:
    """Return the states for time and their copies for the world outside of it."""
    step = step_of(cell, weights, x, *states)
    outside = recorded.add(step)
    inside = (step.h,) if step.c is None else (step.h, step.c)
    return inside, tuple(part for part in outside if part is not None)


def expected_of(data: Data, module: nn.Module, between: Between) -> dict[str, Reference]:
    """The same loop with the oracle's cell: ``between`` acts on the states for time."""
    weights = parameters_of(module)
    leaves = tuple(part.detach().clone().requires_grad_() for part in data.start)
    recorded = Recorded(h0=None)
    states, loss = leaves, torch.zeros((), dtype=FLOAT64)
    for t in range(T):
        states = between(states, t)
        if t == 0:
            for part in states:
                part.retain_grad()
            recorded.h0, recorded.c0 = (*states, None)[:2]
        states, outside = one_step(data.cell, weights, data.x[t], states, recorded)
        loss = loss + step_loss(data, outside, t)
    loss.backward()
    return {"actor.cell": reference_of(recorded)}


def unchanged(states: States, _: int) -> States:
    return states


def check(data: Data, module: nn.Module, between: Between, *, keyword: bool = False) -> object:
    expected = expected_of(data, module, between)
    model = Actor(module, between, keyword=keyword)
    flow = carousel.measure(model, lambda: model(data))
    assert_flow(flow, expected, FLOAT64)
    with carousel.watch(model) as watcher:
        model(data).backward()
    assert_flow(watcher.flow, expected, FLOAT64, "watched")
    return watcher.flow["actor.cell"]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
@pytest.mark.parametrize("cell", CELLS)
def test_plain_loop(cell: str, *, bias: bool) -> None:
    layer = check(Data(cell), make_cell(cell, bias=bias), unchanged)
    assert not layer.notes


@pytest.mark.parametrize("keyword", [False, True], ids=["positional", "keyword"])
@pytest.mark.parametrize("cell", CELLS)
def test_state_masked_where_an_episode_ended(cell: str, *, keyword: bool) -> None:
    data = Data(cell)
    assert data.done[1:].any()
    assert not data.done[1:].all()

    def masked(states: States, t: int) -> States:
        return states if t == 0 else tuple(part * data.keep[t] for part in states)

    check(data, make_cell(cell), masked, keyword=keyword)


@pytest.mark.parametrize("cell", CELLS)
def test_plain_loop_with_the_state_as_a_keyword(cell: str) -> None:
    check(Data(cell), make_cell(cell), unchanged, keyword=True)


@pytest.mark.parametrize("cell", CELLS)
def test_state_masked_by_where_and_restarted_from_a_learned_state(cell: str) -> None:
    data = Data(cell)
    learned = [torch.full((H,), 0.2 * (k + 1), dtype=FLOAT64, requires_grad=True) for k in (0, 1)]

    def restarted(states: States, t: int) -> States:
        return tuple(
            torch.where(data.done[t], learned[k].expand_as(part), part)
            for k, part in enumerate(states)
        )

    check(data, make_cell(cell), restarted)


def cut_and_joined(states: States, _: int) -> States:
    """All states through one tensor and back, as a user who stores them side by side."""
    whole = torch.cat(states, dim=-1).unsqueeze(0).transpose(0, 1)
    return tuple((0.9 * whole).squeeze(1).split(H, dim=-1))


def normalised(states: States, _: int) -> States:
    return tuple(nn.functional.layer_norm(part, (H,)) for part in states)


def swapped_units(states: States, _: int) -> States:
    return tuple(part.flip(-1) for part in states)


def mixed(states: States, _: int) -> States:
    """Each state a function of both."""
    return tuple(torch.sin(part + 0.5 * states[0]) for part in states)


@pytest.mark.parametrize("between", [cut_and_joined, normalised, swapped_units, mixed])
@pytest.mark.parametrize("cell", CELLS)
def test_state_through_other_operations(cell: str, between: Between) -> None:
    check(Data(cell), make_cell(cell), between)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_on_the_state(cell: str) -> None:
    data = Data(cell)

    def dropped(states: States, t: int) -> States:
        torch.manual_seed(t)
        return tuple(nn.functional.dropout(part, 0.3) for part in states)

    check(data, make_cell(cell), dropped)


@pytest.mark.parametrize("cell", CELLS)
def test_detached_in_the_middle(cell: str) -> None:
    """Truncated backpropagation inside one pass: one timeline, the gradient cut at step 3."""
    data, module = Data(cell), make_cell(cell)

    def cut(states: States, t: int) -> States:
        return tuple(part.detach() for part in states) if t == 3 else states

    def cut_into_leaves(states: States, t: int) -> States:
        return tuple(part.detach().requires_grad_() for part in states) if t == 3 else states

    expected = expected_of(data, module, cut_into_leaves)
    model = Actor(module, cut)
    flow = carousel.measure(model, lambda: model(data))
    assert_flow(flow, expected, FLOAT64)
    notes = flow["actor.cell"].notes
    assert any("detached" in note and "step 3" in note for note in notes), notes


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_reaches_only_the_first_steps(cell: str) -> None:
    """A loss on step 1 of 5: the later calls get no gradient, and are no part of the pass."""
    data, module = Data(cell), make_cell(cell)
    data.w[2:], data.w_c[2:] = 0.0, 0.0

    class Early(Actor):
        def forward(self, data: Data) -> torch.Tensor:
            states, loss = data.start, torch.zeros((), dtype=FLOAT64)
            for t in range(T):
                states = states_of(self.actor["cell"](data.x[t], argument(states)))
                loss = loss + step_loss(data, states, t) if t < 2 else loss
            return loss

    expected = expected_of(data, module, unchanged)["actor.cell"]
    model = Early(module, unchanged)
    layer = carousel.measure(model, lambda: model(data))["actor.cell"]
    assert layer.d_h.shape[0] >= 2
    for name in ("d_h", "d_h_injected", "h"):
        actual = getattr(layer, name)
        torch.testing.assert_close(actual[:2], getattr(expected, name)[:2], rtol=1e-10, atol=1e-12)
    assert not layer.d_h[2:].any()


@pytest.mark.parametrize("cell", CELLS)
def test_unbatched_cell(cell: str) -> None:
    data, module = Data(cell, batch=None), make_cell(cell)
    wide = Data(cell, batch=1)
    for name in ("x", "w", "w_c"):
        setattr(wide, name, getattr(data, name).unsqueeze(1))
    wide.start = tuple(part.unsqueeze(0) for part in data.start)
    expected = expected_of(wide, module, unchanged)
    model = Actor(module, unchanged)
    assert_flow(carousel.measure(model, lambda: model(data)), expected, FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_first_call_without_a_state(cell: str) -> None:
    data, module = Data(cell), make_cell(cell)
    data.start = tuple(torch.zeros_like(part) for part in data.start)
    expected = expected_of(data, module, unchanged)

    class Fresh(Actor):
        def forward(self, data: Data) -> torch.Tensor:
            states, loss = None, torch.zeros((), dtype=FLOAT64)
            for t in range(T):
                given = () if states is None else (argument(states),)
                states = states_of(self.actor["cell"](data.x[t], *given))
                loss = loss + step_loss(data, states, t)
            return loss

    model = Fresh(module, unchanged)
    assert_flow(carousel.measure(model, lambda: model(data)), expected, FLOAT64)


class MaskUsedTwice(nn.Module):
    """The masked state goes to the next step and to the loss: only the second is injected."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, data: Data) -> torch.Tensor:
        states, loss = data.start, torch.zeros((), dtype=FLOAT64)
        for t in range(T):
            states = states_of(self.cell(data.x[t], argument(states)))
            states = tuple(torch.tanh(part * data.keep[t]) for part in states)
            loss = loss + step_loss(data, states, t)
        return loss


@pytest.mark.parametrize("cell", CELLS)
def test_masked_state_that_the_loss_reads_too(cell: str) -> None:
    data, module = Data(cell), make_cell(cell)
    model = MaskUsedTwice(module)
    recorded = Recorded()
    weights = parameters_of(module)
    states = tuple(part.clone().requires_grad_() for part in data.start)
    recorded.h0, recorded.c0 = (*states, None)[:2]
    loss = torch.zeros((), dtype=FLOAT64)
    for t in range(T):
        inside, outside = one_step(cell, weights, data.x[t], states, recorded)
        states = tuple(torch.tanh(part * data.keep[t]) for part in inside)
        read = tuple(torch.tanh(part * data.keep[t]) for part in outside)
        loss = loss + step_loss(data, read, t)
    loss.backward()
    expected = {"cell": reference_of(recorded)}
    assert_flow(carousel.measure(model, lambda: model(data)), expected, FLOAT64)
    with carousel.watch(model) as watcher:  # and once more over the same graph
        total = model(data)
        total.backward(retain_graph=True)
        total.backward()
    assert_flow(watcher.flow, expected, FLOAT64, "retained")


class Stack(nn.Module):
    """Two cells, one above the other, in one loop."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.lower = make_cell(cell)
        self.upper = make_cell(cell, inputs=H, seed=1)

    def forward(self, data: Data) -> torch.Tensor:
        low, high = data.start, data.start
        loss = torch.zeros((), dtype=FLOAT64)
        for t in range(T):
            low = states_of(self.lower(data.x[t], argument(low)))
            high = states_of(self.upper(low[0], argument(high)))
            loss = loss + step_loss(data, high, t)
        return loss


@pytest.mark.parametrize("cell", CELLS)
def test_stack_of_cells(cell: str) -> None:
    """For the lower cell, what the upper sends down is injected, whenever it is from."""
    data, model = Data(cell), Stack(cell)
    lower, upper = parameters_of(model.lower), parameters_of(model.upper)
    records = {"lower": Recorded(), "upper": Recorded()}
    starts = []
    for record in records.values():
        starts.append(tuple(part.clone().requires_grad_() for part in data.start))
        record.h0, record.c0 = (*starts[-1], None)[:2]
    low, high = starts
    loss = torch.zeros((), dtype=FLOAT64)
    for t in range(T):
        low, out = one_step(cell, lower, data.x[t], low, records["lower"])
        high, out = one_step(cell, upper, out[0], high, records["upper"])
        loss = loss + step_loss(data, out, t)
    loss.backward()
    expected = {name: reference_of(record) for name, record in records.items()}
    assert_flow(carousel.measure(model, lambda: model(data)), expected, FLOAT64)


class Feedback(nn.Module):
    """The output is the next input, as in a decoder; that way back is not the state's own."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.read = nn.Linear(H, INPUTS).to(FLOAT64)

    def forward(self, data: Data) -> torch.Tensor:
        x, states, loss = data.x[0], data.start, torch.zeros((), dtype=FLOAT64)
        for t in range(T):
            states = states_of(self.cell(x, argument(states)))
            x = self.read(states[0])
            loss = loss + step_loss(data, states, t)
        return loss


@pytest.mark.parametrize("cell", CELLS)
def test_output_fed_back_as_input(cell: str) -> None:
    torch.manual_seed(0)
    data, model = Data(cell), Feedback(make_cell(cell))
    weights, recorded = parameters_of(model.cell), Recorded()
    states = tuple(part.clone().requires_grad_() for part in data.start)
    recorded.h0, recorded.c0 = (*states, None)[:2]
    x, loss = data.x[0], torch.zeros((), dtype=FLOAT64)
    for t in range(T):
        states, outside = one_step(cell, weights, x, states, recorded)
        x = model.read(outside[0])
        loss = loss + step_loss(data, outside, t)
    loss.backward()
    expected = {"cell": reference_of(recorded)}
    assert_flow(carousel.measure(model, lambda: model(data)), expected, FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_two_episodes_are_two_timelines(cell: str) -> None:
    data, module = Data(cell), make_cell(cell)
    other = Data(cell)
    other.x, other.w = other.x.flip(0), other.w.flip(0)
    other.start = tuple(-part for part in other.start)
    model = Actor(module, unchanged)
    first = expected_of(data, module, unchanged)["actor.cell"]
    second = expected_of(other, module, unchanged)["actor.cell"]
    flow = carousel.measure(model, lambda: model(data) + model(other))
    assert_flow(flow, {"actor.cell#1": first, "actor.cell#2": second}, FLOAT64)


def test_two_episodes_side_by_side() -> None:
    """Steps of two loops in turn: each call is told from the other loop's by its state."""
    data, module = Data("lstm"), make_cell("lstm")
    other = Data("lstm")
    other.start = tuple(-part for part in other.start)
    first = expected_of(data, module, unchanged)["actor.cell"]
    second = expected_of(other, module, unchanged)["actor.cell"]

    class InTurn(Actor):
        def forward(self, data: Data) -> torch.Tensor:
            pair, loss = [data.start, other.start], torch.zeros((), dtype=FLOAT64)
            for t in range(T):
                for k in (0, 1):
                    pair[k] = self.actor["cell"](data.x[t], pair[k])
                    loss = loss + step_loss(data, pair[k], t)
            return loss

    model = InTurn(module, unchanged)
    flow = carousel.measure(model, lambda: model(data))
    assert_flow(flow, {"actor.cell#1": first, "actor.cell#2": second}, FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_detached_and_masked(cell: str) -> None:
    """Truncated backpropagation at an episode's end: some sequences go on, some restart."""
    data, module = Data(cell), make_cell(cell)
    keep = torch.tensor([[1.0], [0.0], [1.0]], dtype=FLOAT64)

    def cut(states: States, t: int) -> States:
        return tuple(part.detach() * keep for part in states) if t == 3 else states

    def cut_into_leaves(states: States, t: int) -> States:
        parts = cut(states, t)
        return tuple(part.requires_grad_() for part in parts) if t == 3 else parts

    expected = expected_of(data, module, cut_into_leaves)
    model = Actor(module, cut)
    flow = carousel.measure(model, lambda: model(data))
    assert_flow(flow, expected, FLOAT64)
    notes = " ".join(flow["actor.cell"].notes)
    assert "detached" in notes
    assert "reset" in notes


@pytest.mark.parametrize("cell", CELLS)
def test_sequences_that_leave_the_batch(cell: str) -> None:
    """From step 3 on only the first two sequences go on: a timeline has one batch, so two of them,
    but what crosses from one to the other is still no injection."""
    data, module = Data(cell), make_cell(cell)

    class Shrinking(Actor):
        def forward(self, data: Data) -> torch.Tensor:
            states, loss = data.start, torch.zeros((), dtype=FLOAT64)
            for t in range(T):
                size = B if t < 3 else 2
                states = tuple(part[:size] for part in states)
                states = states_of(self.actor["cell"](data.x[t, :size], argument(states)))
                loss = loss + (data.w[t, :size] * states[0]).sum()
            return loss

    weights = parameters_of(module)
    states: States = tuple(part.clone().requires_grad_() for part in data.start)
    parts = [Recorded(), Recorded()]
    loss = torch.zeros((), dtype=FLOAT64)
    for t in range(T):
        size, part = (B, parts[0]) if t < 3 else (2, parts[1])
        states = tuple(state[:size] for state in states)
        if not part.h:
            for state in states:
                state.retain_grad()
            part.h0, part.c0 = (*states, None)[:2]
        states, outside = one_step(cell, weights, data.x[t, :size], states, part)
        loss = loss + (data.w[t, :size] * outside[0]).sum()
    loss.backward()
    expected = {f"actor.cell#{k + 1}": reference_of(part) for k, part in enumerate(parts)}
    model = Shrinking(module, unchanged)
    assert_flow(carousel.measure(model, lambda: model(data)), expected, FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_a_tree(cell: str) -> None:
    """A state that is the sum of two earlier ones: both get their gradient through time."""
    data, module = Data(cell), make_cell(cell)

    class Tree(Actor):
        def forward(self, data: Data) -> torch.Tensor:
            node = self.actor["cell"]
            left = states_of(node(data.x[0], argument(data.start)))
            right = states_of(node(data.x[1], argument(tuple(-s for s in data.start))))
            both = tuple(a + b for a, b in zip(left, right, strict=True))
            top = states_of(node(data.x[2], argument(both)))
            return step_loss(data, top, 2) + (data.w[0] * left[0]).sum()

    weights = parameters_of(module)
    leaf, branch = Recorded(), Recorded()
    starts = [tuple((sign * s).clone().requires_grad_() for s in data.start) for sign in (1, -1)]
    for record, start in zip((leaf, branch), starts, strict=True):
        record.h0, record.c0 = (*start, None)[:2]
    left, left_outside = one_step(cell, weights, data.x[0], starts[0], leaf)
    right, _ = one_step(cell, weights, data.x[1], starts[1], branch)
    both = tuple(a + b for a, b in zip(left, right, strict=True))
    _, top = one_step(cell, weights, data.x[2], both, branch)
    (step_loss(data, top, 2) + (data.w[0] * left_outside[0]).sum()).backward()
    model = Tree(module, unchanged)
    flow = carousel.measure(model, lambda: model(data))
    expected = {"actor.cell#1": reference_of(leaf), "actor.cell#2": reference_of(branch)}
    assert_flow(flow, expected, FLOAT64)


def test_only_h_is_handed_on() -> None:
    """A user who resets c at each step: h is carried, c is not."""
    data, module = Data("lstm"), make_cell("lstm")

    def without_c(states: States, t: int) -> States:
        return states if t == 0 else (states[0], torch.zeros_like(states[1]))

    check(data, module, without_c)


@pytest.mark.parametrize("cell", CELLS)
def test_state_of_a_batch_that_is_put_in_another_order(cell: str) -> None:
    """As in a beam search. A step of a sequence is then no longer in one place of the batch, but
    the gradient at each state is exact."""
    data, order = Data(cell), torch.tensor([2, 0, 1])
    check(data, make_cell(cell), lambda states, _: tuple(part[order] for part in states))


@pytest.mark.parametrize("cell", CELLS)
def test_long_way_between_two_steps(cell: str) -> None:
    """Twenty operations on the state from step to step."""

    def long(states: States, _: int) -> States:
        for _k in range(20):
            states = tuple(part * 0.99 for part in states)
        return states

    check(Data(cell), make_cell(cell), long)


def test_the_step_of_the_oracle_is_that_of_torch() -> None:
    """The oracle's Step is what the cell of torch computes."""
    for cell in CELLS:
        data, module = Data(cell), make_cell(cell)
        step = step_of(cell, parameters_of(module), data.x[0], *data.start)
        assert isinstance(step, Step)
        result = states_of(module(data.x[0], argument(data.start)))
        torch.testing.assert_close(step.h, result[0], rtol=1e-12, atol=1e-12)


def test_a_way_too_long_to_follow_is_noted() -> None:
    cell = nn.RNNCell(2, 3)
    with carousel.watch(cell) as watcher:
        h = cell(torch.ones(1, 2), torch.zeros(1, 3))
        for _ in range(300):
            h = h * 1.001
        cell(torch.ones(1, 2), h).sum().backward()
    assert any("too many to follow" in note for note in watcher.flow.notes)


def test_an_empty_batch_is_not_recorded() -> None:
    model = nn.LSTM(2, 3)
    with carousel.watch(model) as watcher:
        model(torch.ones(4, 0, 2))[0].sum().backward()
        model(torch.ones(4, 1, 2))[0].sum().backward()
    assert watcher.flow["l0"].batch == 1
