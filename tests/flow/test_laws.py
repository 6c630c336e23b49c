"""Laws that hold for every recurrent network, whatever its numbers are."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import CELLS, Case, Problem
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import carousel
from carousel.flow import LayerFlow

FLOAT64 = torch.float64
QUANTITIES = ("d_h", "d_c", "d_h_injected", "d_c_injected", "h", "c")
LAWS = settings(deadline=None, max_examples=25)

cells = st.sampled_from([(cell, False) for cell in CELLS] + [("lstm", True)])
seeds = st.integers(0, 10_000)


def problem_of(cell: tuple[str, bool], steps: int, batch: int, hidden: int, seed: int) -> Problem:
    case = Case(
        cell=cell[0],
        projected=cell[1],
        state="given",
        steps=steps,
        batch=batch,
        hidden=max(hidden, 3) if cell[1] else hidden,
    )
    return Problem(case, salt=seed)


def measured(problem: Problem, run: object = None) -> LayerFlow:
    return carousel.measure(problem.module, run or (lambda: problem.loss("all")))["l0"]


def quantities(layer: LayerFlow) -> dict[str, torch.Tensor]:
    found = {name: getattr(layer, name) for name in (*QUANTITIES, "d_h0", "d_c0")}
    return {name: value for name, value in found.items() if value is not None}


@LAWS
@given(
    cell=cells,
    lengths=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    batch=st.integers(1, 3),
    hidden=st.integers(1, 7),
    seed=seeds,
)
def test_split_sequence_is_the_whole_sequence(
    cell: tuple[str, bool], lengths: list[int], batch: int, hidden: int, seed: int
) -> None:
    problem = problem_of(cell, sum(lengths), batch, hidden, seed)

    def split() -> torch.Tensor:
        state, outputs = problem.state, []
        for part in problem.x.split(lengths):
            output, state = problem.module(part, state)
            outputs.append(output)
        ends = state if isinstance(state, tuple) else (state, None)
        return problem.loss_of("all", torch.cat(outputs), *ends)

    whole, joined = quantities(measured(problem)), quantities(measured(problem, split))
    for name, value in whole.items():
        assert_close(joined[name], value, sum(lengths), FLOAT64, name)


@LAWS
@given(
    cell=cells,
    steps=st.integers(1, 6),
    batch=st.integers(1, 3),
    seed=seeds,
    a=st.integers(-30, 30).map(lambda tenths: tenths / 10),
    b=st.integers(-30, 30).map(lambda tenths: tenths / 10),
)
def test_the_adjoint_is_linear_in_the_upstream_gradient(
    cell: tuple[str, bool], steps: int, batch: int, seed: int, a: float, b: float
) -> None:
    problem = problem_of(cell, steps, batch, 4, seed)
    names = ("w_output", "w_h_n", "w_c_n")
    first = {name: getattr(problem, name) for name in names}
    second = {name: torch.cos(7 * value) for name, value in first.items()}
    found = []
    for weights in (first, second, {name: a * first[name] + b * second[name] for name in names}):
        for name, value in weights.items():
            setattr(problem, name, value)
        found.append(quantities(measured(problem)))
    one, other, both = found
    for name in both:
        if name.startswith("d_"):
            combined = a * one[name] + b * other[name]
            scale = (abs(a) * one[name].abs() + abs(b) * other[name].abs()).max()
            assert (both[name] - combined).abs().max() <= 1e-12 * scale, name


@LAWS
@given(data=st.data(), cell=cells, steps=st.integers(1, 5), seed=seeds)
def test_the_order_of_the_batch_does_not_matter(
    data: st.DataObject, cell: tuple[str, bool], steps: int, seed: int
) -> None:
    batch = 4
    problem = problem_of(cell, steps, batch, 4, seed)
    order = torch.tensor(data.draw(st.permutations(range(batch))))
    lengths = torch.tensor(
        data.draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch))
    )
    lengths[seed % batch] = steps

    def run(order: torch.Tensor) -> dict[str, torch.Tensor]:
        def loss() -> torch.Tensor:
            x = pack_padded_sequence(problem.x[:, order], lengths[order], enforce_sorted=False)
            parts = [problem.h0] if problem.c0 is None else [problem.h0, problem.c0]
            parts = [part[:, order] for part in parts]
            output, state = problem.module(x, tuple(parts) if len(parts) > 1 else parts[0])
            padded, _ = nn.utils.rnn.pad_packed_sequence(output, total_length=steps)
            h_n, c_n = state if isinstance(state, tuple) else (state, None)
            total = (problem.w_output[:, order] * padded).sum()
            total = total + (problem.w_h_n[:, order] * h_n).sum()
            return total if c_n is None else total + (problem.w_c_n[:, order] * c_n).sum()

        layer = measured(problem, loss)
        assert layer.lengths.tolist() == lengths[order].tolist()
        return quantities(layer)

    plain, permuted = run(torch.arange(batch)), run(order)
    for name, value in plain.items():
        expected = value[order] if value.dim() == 2 else value[:, order]
        assert_close(permuted[name], expected, steps, FLOAT64, name)


@LAWS
@given(cell=cells, steps=st.integers(1, 5), batch=st.integers(1, 3), seed=seeds)
def test_padding_changes_nothing(cell: tuple[str, bool], steps: int, batch: int, seed: int) -> None:
    """A packed batch of full sequences is the padded batch."""
    problem = problem_of(cell, steps, batch, 4, seed)

    def packed() -> torch.Tensor:
        x = pack_padded_sequence(problem.x, torch.full((batch,), steps))
        output, state = problem.module(x, problem.state)
        ends = state if isinstance(state, tuple) else (state, None)
        padded, _ = nn.utils.rnn.pad_packed_sequence(output)
        return problem.loss_of("all", padded, *ends)

    plain, other = quantities(measured(problem)), quantities(measured(problem, packed))
    for name, value in plain.items():
        assert_close(other[name], value, steps, FLOAT64, name)


@LAWS
@given(cell=cells, steps=st.integers(1, 6), batch=st.integers(1, 3), seed=seeds)
def test_total_and_injected_agree_at_the_last_step(
    cell: tuple[str, bool], steps: int, batch: int, seed: int
) -> None:
    """No time comes after it: at the last step all of the gradient on h is injected."""
    problem = problem_of(cell, steps, batch, 4, seed)
    layer = measured(problem)
    assert torch.equal(layer.d_h[-1], layer.d_h_injected[-1])


@LAWS
@given(cell=cells, steps=st.integers(2, 6), seed=seeds)
def test_sequences_of_a_batch_do_not_mix(cell: tuple[str, bool], steps: int, seed: int) -> None:
    problem = problem_of(cell, steps, 3, 4, seed)
    before = quantities(measured(problem))
    with torch.no_grad():
        problem.x[:, 1] += 1.0
        problem.w_output[:, 1] *= -2.0
    after = quantities(measured(problem))
    for name, value in before.items():
        batch_dim = 0 if value.dim() == 2 else 1
        others = torch.tensor([0, 2])
        one = value.index_select(batch_dim, others)
        assert_close(after[name].index_select(batch_dim, others), one, steps, FLOAT64, name)
        one = torch.tensor([1])
        own = [each.index_select(batch_dim, one) for each in (value, after[name])]
        dead = not own[0].any() and not own[1].any()  # every relu off: nothing comes back
        if name != "d_c_injected" and not dead:  # that comes from c_n alone, which stays
            assert not torch.equal(*own), f"{name} of the changed sequence stayed"
