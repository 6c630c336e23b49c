"""A module that is called several times in one pass: chunks of one sequence, or unrelated ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import (
    Loop,
    Recorded,
    Reference,
    assert_flow,
    initial_states,
    loss_of_loop,
    reference_of,
    references,
)
from torch.nn.utils.rnn import pack_padded_sequence

import carousel

FLOAT64 = torch.float64
KINDS = [
    Case(cell="rnn_tanh", layers=2, state="requires_grad", steps=5),
    Case(cell="rnn_relu", state="given", steps=5),
    Case(cell="gru", layers=3, batch_first=True, steps=5),
    Case(cell="lstm", layers=2, state="requires_grad", steps=5),
    Case(cell="lstm", layers=2, projected=True, steps=5),
    Case(cell="lstm", layers=2, dropout=0.4, bias=False, state="given", steps=5),
]
CHUNKS = [(2, 3), (3, 2), (1, 1, 3), (1, 1, 1, 1, 1)]

Between = Callable[[torch.Tensor], torch.Tensor]


def cut(x: torch.Tensor, chunks: tuple[int, ...], dim: int = 0) -> list[torch.Tensor]:
    return list(x.split(list(chunks), dim=dim))


def run_chunks(problem: Problem, chunks: tuple[int, ...], between: Between) -> torch.Tensor:
    """Run the module chunk by chunk; the loss also looks at the state between the chunks."""
    torch.manual_seed(problem.case.seed)
    time = 1 if problem.case.batch_first else 0
    w_output = problem.w_output.transpose(0, 1) if problem.case.batch_first else problem.w_output
    state, loss = problem.state, 0.0
    for x, w in zip(cut(problem.input, chunks, time), cut(w_output, chunks, time), strict=True):
        output, state = problem.module(x, state)
        parts = state if isinstance(state, tuple) else (state,)
        loss = loss + (w * output).sum() + (problem.w_h_n * parts[0]).sum()
        if len(parts) > 1:
            loss = loss + (problem.w_c_n * parts[1]).sum()
        parts = tuple(between(part) for part in parts)
        state = parts if isinstance(state, tuple) else parts[0]
    return loss


def chunk_references(
    problem: Problem, chunks: tuple[int, ...], between: Between
) -> dict[str, list[Recorded]]:
    """Do the same in the loop; the recorded steps of each layer, one entry for each chunk."""
    torch.manual_seed(problem.case.seed)
    loop = Loop(problem.case, problem.module)
    state, loss = initial_states(problem), torch.zeros((), dtype=FLOAT64)
    recorded: dict[str, list[Recorded]] = {name: [] for name in problem.case.layer_names}
    whole = problem.w_output
    for x, w in zip(cut(problem.x, chunks), cut(whole, chunks), strict=True):
        loop.run(x, torch.full((x.shape[1],), x.shape[0]), state)
        problem.w_output = w
        loss = loss + loss_of_loop(problem, loop, "all")
        for name, found in loop.recorded.items():
            recorded[name].append(found)
        state = {
            name: (
                between(loop.h_last[name]),
                None if loop.c_last[name] is None else between(loop.c_last[name]),
            )
            for name in recorded
        }
    problem.w_output = whole
    loss.backward()
    return recorded


def joined(recorded: dict[str, list[Recorded]]) -> dict[str, Reference]:
    return {name: reference_of(Recorded.joined(parts)) for name, parts in recorded.items()}


def numbered(recorded: dict[str, list[Recorded]]) -> dict[str, Reference]:
    return {
        f"{name}#{number}": reference_of(part)
        for name, parts in recorded.items()
        for number, part in enumerate(parts, start=1)
    }


def detached_leaf(state: torch.Tensor) -> torch.Tensor:
    return state.detach().requires_grad_()


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.id)
def test_carried_state_is_one_timeline(case: Case, chunks: tuple[int, ...]) -> None:
    """What comes back from the next chunk came through time: it is no part of the injected."""
    problem = Problem(case)
    flow = carousel.measure(
        problem.module, lambda: run_chunks(problem, chunks, lambda state: state)
    )
    expected = joined(chunk_references(problem, chunks, lambda state: state))
    assert_flow(flow, expected, FLOAT64)
    assert all(not layer.notes for layer in flow.layers.values())


# With dropout, chunks draw other masks than the whole.
@pytest.mark.parametrize("case", [k for k in KINDS if not k.dropout], ids=lambda case: case.id)
def test_carried_state_equals_the_whole_sequence(case: Case) -> None:
    """Chunks with a loss on their outputs alone: the same flow as of one call."""
    problem = Problem(case)

    def in_chunks() -> torch.Tensor:
        time = 1 if case.batch_first else 0
        state, outputs = problem.state, []
        for x in cut(problem.input, (2, 3), time):
            output, state = problem.module(x, state)
            outputs.append(output)
        parts = state if isinstance(state, tuple) else (state, None)
        return problem.loss_of("all", torch.cat(outputs, dim=time), *parts)

    expected, _ = references(problem, "all")
    assert_flow(carousel.measure(problem.module, in_chunks), expected, FLOAT64)


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.id)
def test_detached_state_is_one_timeline_with_a_cut(case: Case) -> None:
    problem, chunks = Problem(case), (2, 3)
    flow = carousel.measure(
        problem.module, lambda: run_chunks(problem, chunks, lambda state: state.detach())
    )
    expected = joined(chunk_references(problem, chunks, detached_leaf))
    assert_flow(flow, expected, FLOAT64)
    for layer in flow.layers.values():
        assert any("detached" in note and "step 2" in note for note in layer.notes), layer.notes


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.id)
def test_state_detached_into_a_leaf_that_requires_a_gradient(case: Case) -> None:
    problem, chunks = Problem(case), (2, 3)
    flow = carousel.measure(problem.module, lambda: run_chunks(problem, chunks, detached_leaf))
    expected = joined(chunk_references(problem, chunks, detached_leaf))
    assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.id)
def test_unrelated_calls_are_numbered(case: Case) -> None:
    problem, chunks = Problem(case), (2, 3)

    def fresh(state: torch.Tensor) -> torch.Tensor:
        return torch.full_like(state, 0.3, requires_grad=True)

    flow = carousel.measure(problem.module, lambda: run_chunks(problem, chunks, fresh))
    assert_flow(flow, numbered(chunk_references(problem, chunks, fresh)), FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_same_input_twice_without_a_state(cell: str) -> None:
    problem = Problem(Case(cell=cell, layers=2, bidirectional=True, ragged="unsorted"))
    expected, _ = references(problem, "all")
    flow = carousel.measure(problem.module, lambda: problem.loss("all") + problem.loss("all"))
    both = {f"{name}#{k}": found for name, found in expected.items() for k in (1, 2)}
    assert_flow(flow, both, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_carried_state_of_a_bidirectional_module(cell: str) -> None:
    """Two directions cannot share one joined time; each call's gradients are exact all the same."""
    problem = Problem(Case(cell=cell, bidirectional=True, layers=2, state="given", steps=5))
    chunks = (2, 3)
    flow = carousel.measure(
        problem.module, lambda: run_chunks(problem, chunks, lambda state: state)
    )
    expected = numbered(chunk_references(problem, chunks, lambda state: state))
    assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_carried_state_of_packed_chunks(cell: str) -> None:
    """Chunks with padding have no joined time, but their gradients are exact, and what one sends
    back to the other is not injected."""
    problem = Problem(Case(cell=cell, layers=2, ragged="unsorted", state="given", steps=4))
    x = problem.x

    def run() -> torch.Tensor:
        state, loss = problem.state, 0.0
        for sign in (1.0, -1.0):
            packed = pack_padded_sequence(sign * x, problem.lengths, enforce_sorted=False)
            output, state = problem.module(packed, state)
            loss = loss + (problem._output_loss(output) if sign > 0 else 0.0)
        return loss + sum(part.sum() for part in (state if cell == "lstm" else (state,)))

    loop = Loop(problem.case, problem.module)
    state, loss = initial_states(problem), torch.zeros((), dtype=FLOAT64)
    expected = {}
    for number, sign in ((1, 1.0), (2, -1.0)):
        loop.run(sign * x, problem.lengths, state)
        expected |= {f"{name}#{number}": found for name, found in loop.recorded.items()}
        state = {name: (loop.h_last[name], loop.c_last[name]) for name in problem.case.layer_names}
        loss = loss + ((problem.w_output * loop.output).sum() if sign > 0 else 0.0)
    loss = loss + loop.h_n.sum() + (0.0 if loop.c_n is None else loop.c_n.sum())
    loss.backward()
    flow = carousel.measure(problem.module, run)
    lengths = problem.lengths
    assert_flow(flow, {n: reference_of(part, lengths) for n, part in expected.items()}, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_state_taken_from_the_output(cell: str, *, batch_first: bool) -> None:
    """The last step of the output instead of h_n: the same state, and the same time."""
    problem = Problem(Case(cell=cell, batch_first=batch_first, state="given", steps=5))
    time = 1 if batch_first else 0

    def run() -> torch.Tensor:
        first, second = cut(problem.input, (2, 3), time)
        output, _ = problem.module(first, problem.state)
        last = output.select(time, -1).unsqueeze(0)
        rest, h_n = problem.module(second, last)
        return problem.loss_of("all", torch.cat([output, rest], dim=time), h_n, None)

    expected, _ = references(problem, "all")
    assert_flow(carousel.measure(problem.module, run), expected, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_state_given_as_a_keyword(cell: str) -> None:
    problem = Problem(Case(cell=cell, layers=2, state="requires_grad", steps=5))
    plain = problem.module
    expected = joined(chunk_references(problem, (2, 3), lambda state: state))

    class ByKeyword(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = plain

        def forward(self, x: torch.Tensor, state: object) -> object:
            return self.inside(input=x, hx=state)

    model = problem.module = ByKeyword()
    flow = carousel.measure(model, lambda: run_chunks(problem, (2, 3), lambda state: state))
    assert_flow(flow, {f"inside.{name}": ref for name, ref in expected.items()}, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("factor", [0.5, -1.0])
def test_state_changed_between_chunks(cell: str, factor: float) -> None:
    """The carried part goes through whatever the user does to the state, and is not injected."""
    problem = Problem(Case(cell=cell, layers=2, state="requires_grad", steps=5))

    def between(state: torch.Tensor) -> torch.Tensor:
        return torch.tanh(state * factor) + 0.1

    flow = carousel.measure(problem.module, lambda: run_chunks(problem, (2, 1, 2), between))
    assert_flow(flow, joined(chunk_references(problem, (2, 1, 2), between)), FLOAT64)


def test_one_state_continued_twice() -> None:
    """Two futures of one past, as in a tree: both send their gradient back through time."""
    problem = Problem(Case(cell="lstm", state="given", steps=4))
    w = problem.w_output

    def run() -> torch.Tensor:
        output, state = problem.module(problem.x[:2], problem.state)
        one, _ = problem.module(problem.x[2:], state)
        other, _ = problem.module(-problem.x[2:], state)
        return (w[:2] * output).sum() + (w[2:] * one).sum() + (w[2:].flip(0) * other).sum()

    loop = Loop(problem.case, problem.module)
    two = torch.full((3,), 2)
    loop.run(problem.x[:2], two, initial_states(problem))
    past, output = loop.recorded["l0"], loop.output
    state = {"l0": (loop.h_last["l0"], loop.c_last["l0"])}
    loop.run(problem.x[2:], two, state)
    one, first_output = loop.recorded["l0"], loop.output
    copies = {"l0": (loop.recorded["l0"].h0 * 1.0, loop.recorded["l0"].c0 * 1.0)}
    loop.run(-problem.x[2:], two, copies)
    other, second_output = loop.recorded["l0"], loop.output
    loss = (w[:2] * output).sum() + (w[2:] * first_output).sum()
    (loss + (w[2:].flip(0) * second_output).sum()).backward()
    expected = {
        "l0#1": reference_of(Recorded.joined([past, one])),
        "l0#2": reference_of(other),
    }
    assert_flow(carousel.measure(problem.module, run), expected, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_encoder_state_given_to_a_decoder_is_injected_there(cell: str) -> None:
    """Another module's time is not this module's: at the encoder's end the gradient is injected."""
    first = Problem(Case(cell=cell, steps=3, state="given"))
    second = Problem(Case(cell=cell, steps=4, state="none"))
    second.module.load_state_dict(first.module.state_dict())

    class Seq2Seq(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = first.module, second.module

        def forward(self) -> torch.Tensor:
            _, state = self.encoder(first.x, first.state)
            output, _ = self.decoder(second.x, state)
            return (second.w_output * output).sum()

    encoder, decoder = Loop(first.case, first.module), Loop(second.case, second.module)
    encoder.run(first.x, first.lengths, initial_states(first))
    c_n = encoder.c_n[0] if encoder.c_n is not None else None
    decoder.run(second.x, second.lengths, {"l0": (encoder.h_n[0], c_n)})
    (second.w_output * decoder.output).sum().backward()
    expected = {
        "encoder.l0": reference_of(encoder.recorded["l0"]),
        "decoder.l0": reference_of(decoder.recorded["l0"]),
    }
    model = Seq2Seq()
    assert_flow(carousel.measure(model, model), expected, FLOAT64)


def test_gradient_accumulation() -> None:
    """Two forwards and two backwards: the flow is of the last, .grad is the sum of both."""
    problem = Problem(Case(cell="lstm", layers=2, state="given"))
    other = Problem(problem.case, salt=1)
    other.module = problem.module
    expected, _ = references(other, "all")
    problem.loss("all").backward()
    other.loss("all").backward()
    gradients = [parameter.grad.clone() for parameter in problem.module.parameters()]
    problem.module.zero_grad()
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
        other.loss("all").backward()
    assert_flow(watcher.flow, expected, FLOAT64)
    for parameter, gradient in zip(problem.module.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_two_forwards_before_their_backwards() -> None:
    problem = Problem(Case(cell="gru", layers=2, state="given"))
    expected, _ = references(problem, "h_n")
    with carousel.watch(problem.module) as watcher:
        first, second = problem.loss("output"), problem.loss("h_n")
        second.backward()
        assert_flow(watcher.flow, expected, FLOAT64)
        first.backward()
    assert_flow(watcher.flow, references(problem, "output")[0], FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_a_retained_graph_twice(cell: str) -> None:
    """Each backward pass is a flow of its own: not the sum, not the first."""
    problem = Problem(Case(cell=cell, layers=2, bidirectional=True, state="requires_grad"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        loss = problem.loss("all")
        loss.backward(retain_graph=True)
        assert_flow(watcher.flow, expected, FLOAT64, "first")
        (2.5 * loss).backward()
        flow = watcher.flow
    for name, reference in expected.items():
        for quantity in ("d_h", "d_c", "d_h_injected", "d_c_injected", "d_h0", "d_c0"):
            value = getattr(reference, quantity)
            setattr(reference, quantity, None if value is None else 2.5 * value)
        assert name in flow
    assert_flow(flow, expected, FLOAT64, "second")


def test_a_retained_graph_twice_with_carried_chunks() -> None:
    problem = Problem(KINDS[3])
    expected = joined(chunk_references(problem, (2, 3), lambda state: state))
    with carousel.watch(problem.module) as watcher:
        loss = run_chunks(problem, (2, 3), lambda state: state)
        loss.backward(retain_graph=True)
        loss.backward()
    assert_flow(watcher.flow, expected, FLOAT64)


def test_autograd_grad_counts_as_a_backward_pass() -> None:
    problem = Problem(Case(cell="lstm", state="requires_grad"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        torch.autograd.grad(problem.loss("all"), problem.module.weight_ih_l0)
    assert_flow(watcher.flow, expected, FLOAT64)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_output_changed_in_place_by_the_user(cell: str) -> None:
    """The gradient belongs to the output as the module gave it, before the user doubled it."""
    problem = Problem(Case(cell=cell, layers=2, state="given"))

    def run() -> torch.Tensor:
        output, h_n, c_n = problem.call()
        output.mul_(2.0)
        h_n.add_(1.0)
        return problem.loss_of("all", output, h_n, c_n)

    loop = Loop(problem.case, problem.module)
    loop.run(problem.x, problem.lengths, initial_states(problem))
    loop.output, loop.h_n = 2.0 * loop.output, loop.h_n + 1.0
    loss_of_loop(problem, loop, "all").backward()
    expected = {name: reference_of(found) for name, found in loop.recorded.items()}
    with carousel.watch(problem.module) as watcher:
        run().backward()
    assert_flow(watcher.flow, expected, FLOAT64, "watched")
    assert_flow(carousel.measure(problem.module, run), expected, FLOAT64, "measured")


def test_input_and_state_changed_in_place_by_the_user() -> None:
    """Frozen weights save nothing for autograd, so the user may overwrite input and states."""
    problem = Problem(Case(cell="gru", layers=2, state="given"))
    expected, _ = references(problem, "all")
    problem.module.requires_grad_(requires_grad=False)
    with carousel.watch(problem.module) as watcher:
        loss = problem.loss("all")
        problem.x.zero_()
        problem.h0.zero_()
        loss.backward()
    assert_flow(watcher.flow, expected, FLOAT64)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_between_backward_and_flow_does_not_matter(optimizer: type) -> None:
    problem = Problem(Case(cell="lstm", layers=2, bidirectional=True, state="given"))
    expected, _ = references(problem, "all")
    steps = optimizer(problem.module.parameters(), lr=0.5)
    before = problem.module.weight_hh_l0.detach().clone()
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
        steps.step()
        steps.zero_grad()
    with torch.no_grad():
        problem.x.zero_()
        problem.h0.zero_()
    assert not torch.equal(problem.module.weight_hh_l0, before)
    assert_flow(watcher.flow, expected, FLOAT64)


def test_carried_state_over_a_step_of_the_optimizer() -> None:
    """Truncated backpropagation: the state is handed on detached, the weights change in between."""
    problem = Problem(Case(cell="lstm", state="given", steps=4))
    steps = torch.optim.SGD(problem.module.parameters(), lr=0.1)
    with carousel.watch(problem.module) as watcher:
        _, state = problem.module(problem.x[:2], problem.state)
        state[0].sum().backward()
        steps.step()
        state = tuple(part.detach() for part in state)
        h0, c0 = state
        output, _ = problem.module(problem.x[2:], state)
        (problem.w_output[2:] * output).sum().backward()
    loop = Loop(problem.case, problem.module)
    leaves = (h0[0].clone().requires_grad_(), c0[0].clone().requires_grad_())
    loop.run(problem.x[2:], torch.full((3,), 2), {"l0": leaves})
    (problem.w_output[2:] * loop.output).sum().backward()
    assert_flow(watcher.flow, {"l0": reference_of(loop.recorded["l0"])}, FLOAT64)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_every(every: int) -> None:
    """Pass 0 is recorded, then each every-th: the flow is of the last recorded one."""
    problems = [Problem(Case(cell="lstm", state="given"), salt=k) for k in range(5)]
    module = problems[0].module
    expected = []
    for problem in problems:
        problem.module = module
        expected.append(references(problem, "all")[0])
    with carousel.watch(module, every=every) as watcher:
        for k, problem in enumerate(problems):
            problem.loss("all").backward()
            assert_flow(watcher.flow, expected[k - k % every], FLOAT64, f"pass {k}")


def test_every_counts_passes_not_calls() -> None:
    problem = Problem(KINDS[3])
    expected = joined(chunk_references(problem, (2, 3), lambda state: state))
    with carousel.watch(problem.module, every=2) as watcher:
        for _ in range(3):
            run_chunks(problem, (2, 3), lambda state: state).backward()
    assert watcher.passes_recorded == 2
    assert_flow(watcher.flow, expected, FLOAT64)


def test_forwards_without_gradient_are_not_recorded() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        with torch.no_grad():
            problem.loss("all")
        with torch.inference_mode():
            problem.module(torch.ones(2, 1, 2, dtype=FLOAT64))
        problem.loss("all").backward()
        with torch.no_grad():
            problem.loss("all")
    assert_flow(watcher.flow, expected, FLOAT64)


def test_the_flow_stays_after_the_next_forward() -> None:
    problem = Problem(Case(cell="gru", state="given"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
        flow = watcher.flow
        problem.loss("h_n")
    assert_flow(flow, expected, FLOAT64)
    assert_flow(watcher.flow, expected, FLOAT64)


@pytest.mark.parametrize("reentrant", [False, True])
def test_under_activation_checkpointing(*, reentrant: bool) -> None:
    """The forward runs again during backward; the flow must still be that of the pass."""
    problem = Problem(Case(cell="lstm", state="requires_grad"))
    expected, _ = references(problem, "all")

    def part(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple:
        output, (h_n, c_n) = problem.module(x, (h, c))
        return output, h_n, c_n

    problem.x.requires_grad_()
    with carousel.watch(problem.module) as watcher:
        results = torch.utils.checkpoint.checkpoint(
            part, problem.x, problem.h0, problem.c0, use_reentrant=reentrant
        )
        problem.loss_of("all", *results).backward()
    assert_flow(watcher.flow, expected, FLOAT64)
