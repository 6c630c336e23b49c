"""Truncated gradients against loops that really truncate, and answers known on paper."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.flow.test_known_answers import forget_only, linear_chain, logit
from tests.tolerances import tolerance
from tests.trace.own_layers import Own
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import LayerFlow, _truncation

FLOAT64 = torch.float64
CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
PLAIN = [Case(cell=cell, state="given", steps=7) for cell in CELLS]
PLAIN.append(Case(cell="lstm", state="given", steps=7, projected=True))


def measured(problem: Problem, loss: str = "output") -> LayerFlow:
    return carousel.measure(problem.module, lambda: problem.loss(loss))["l0"]


def as_tuple(state: object) -> tuple[torch.Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def gradients(module: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(loss, list(module.parameters()))
    names = [name.removesuffix("_l0") for name, _ in module.named_parameters()]
    return dict(zip(names, found, strict=True))


def in_chunks(problem: Problem, k: int) -> dict[str, torch.Tensor]:
    """What people do: the state is detached every k steps."""
    state, loss = problem.state, 0.0
    for x, w in zip(problem.x.split(k), problem.w_output.split(k), strict=True):
        output, state = problem.module(x, state)
        loss = loss + (w * output).sum()
        parts = tuple(part.detach() for part in as_tuple(state))
        state = parts if len(parts) > 1 else parts[0]
    return gradients(problem.module, loss)


def in_windows(problem: Problem, k: int) -> dict[str, torch.Tensor]:
    """The loss of each step on its own: k steps from a detached state up to it."""
    total: dict[str, torch.Tensor] = {}
    for s in range(problem.case.steps):
        first, state = max(0, s - k + 1), problem.state
        with torch.no_grad():
            if first:
                state = problem.module(problem.x[:first], state)[1]
        output, _ = problem.module(problem.x[first : s + 1], state)
        found = gradients(problem.module, (problem.w_output[s] * output[-1]).sum())
        total = {name: total.get(name, 0.0) + value for name, value in found.items()}
    return total


def assert_truncation(problem: Problem, k: int, how: str) -> None:
    full = gradients(problem.module, problem.loss("output"))
    kept = (in_chunks if how == "chunks" else in_windows)(problem, k)
    found = measured(problem).truncation(k, how)
    assert (found.k, found.how) == (k, how)
    assert found.parameters.keys() == full.keys()
    limit = 100 * tolerance(problem.dtype, problem.case.steps)
    for name, value in full.items():
        bias = float((kept[name] - value).norm() / value.norm())
        assert found.parameters[name].relative == pytest.approx(bias, abs=limit), name
        cosine = float((kept[name] * value).sum() / value.norm() / kept[name].norm())
        assert found.parameters[name].cosine == pytest.approx(cosine, abs=limit), name
    flat, flat_kept = (torch.cat([v.flatten() for v in each.values()]) for each in (full, kept))
    bias = float((flat_kept - flat).norm() / flat.norm())
    assert found.all_parameters.relative == pytest.approx(bias, abs=limit)
    assert k == problem.case.steps or bias > 1e-3, "the test must truncate something"


@pytest.mark.parametrize("how", ["window", "chunks"])
@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.id)
def test_the_bias_is_that_of_a_loop_that_truncates(case: Case, k: int, how: str) -> None:
    assert_truncation(Problem(case), k, how)


@pytest.mark.parametrize("how", ["window", "chunks"])
@pytest.mark.parametrize("cell", ["lstm_peephole", "lstm_cifg", "lstm_nog", "lstm_1997", "gru"])
def test_own_layers(cell: str, how: str) -> None:
    assert_truncation(Own(Case(cell=cell, state="given", steps=6)), 2, how)


def test_float32() -> None:
    problem = Problem(Case(cell="lstm", state="given", steps=7), dtype=torch.float32)
    assert_truncation(problem, 3, "window")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("ragged", ["no", "unsorted"])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_by_step_it_is_what_the_items_say(cell: str, ragged: str, k: int) -> None:
    """The items at lags 0 .. k-1, added up; both directions."""
    problem = Problem(
        Case(cell=cell, steps=9, ragged=ragged, bidirectional=True, state="given", layers=2)
    )
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        items = layer.itemised(vectors_at=range(9))
        steps = torch.arange(9)
        lag = steps.unsqueeze(1) - steps
        lag = lag if layer.direction == "forward" else -lag
        keep = ((lag >= 0) & (lag < k)).to(FLOAT64)
        found = layer.truncation(k)
        for vectors, total, bias, cosine in [
            (items.d_h, layer.d_h, found.relative_h, found.cosine_h),
            (items.d_c, layer.d_c, found.relative_c, found.cosine_c),
        ]:
            if total is None:
                assert bias is None
                continue
            kept = torch.einsum("kt,ktbu->tbu", keep, vectors)
            valid = steps.unsqueeze(1) < layer.lengths
            expected = (kept - total).norm(dim=-1) / total.norm(dim=-1)
            torch.testing.assert_close(bias[valid], expected[valid], rtol=0, atol=1e-10)
            expected = torch.cosine_similarity(kept, total, dim=-1)
            torch.testing.assert_close(cosine[valid], expected[valid], rtol=0, atol=1e-10)
            assert bias[~valid].isnan().all()


def assert_curve(layer: LayerFlow, how: str) -> None:
    """It is ``truncation`` at every k."""
    curve = layer.truncation_curve(how)
    assert curve.how == how
    assert curve.k.tolist() == list(range(1, layer.steps + 1))
    for k in curve.k.tolist():
        found = layer.truncation(k, how)
        assert float(curve.relative[k - 1]) == pytest.approx(
            found.all_parameters.relative, abs=1e-12
        )
        assert float(curve.cosine[k - 1]) == pytest.approx(found.all_parameters.cosine, abs=1e-12)
        for name, difference in found.parameters.items():
            assert float(curve.parameters[name][k - 1]) == pytest.approx(
                difference.relative, abs=1e-12
            )
    assert float(curve.relative[-1]) < 1e-12
    assert float(curve.relative[:-1].min()) > 1e-4, "the test must truncate something"


@pytest.mark.parametrize("how", ["window", "chunks"])
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.id)
def test_the_curve_is_the_truncation_at_every_k(case: Case, how: str) -> None:
    assert_curve(measured(Problem(case), "all"), how)


@pytest.mark.parametrize("cell", ["lstm_peephole", "lstm_cifg", "lstm_1997", "gru"])
def test_the_curve_of_chunks_of_own_layers(cell: str) -> None:
    assert_curve(measured(Own(Case(cell=cell, state="given", steps=6)), "all"), "chunks")


@pytest.mark.parametrize("most", [1, 100, 2**22])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_curve_of_chunks_of_ragged_batches_in_both_directions(
    cell: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One k after another, some at once, and all at once."""
    monkeypatch.setattr(_truncation, "MOST_NUMBERS", most)
    problem = Problem(
        Case(cell=cell, steps=7, ragged="unsorted", bidirectional=True, state="given", layers=2)
    )
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        assert_curve(layer, "chunks")


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_the_length_of_chunks_is_that_of_a_loop_that_detaches(cell: str) -> None:
    problem = Problem(Case(cell=cell, state="given", steps=12))
    full = torch.cat(
        [g.flatten() for g in gradients(problem.module, problem.loss("output")).values()]
    )
    kept = [torch.cat([g.flatten() for g in in_chunks(problem, k).values()]) for k in range(1, 13)]
    bias = [float((g - full).norm() / full.norm()) for g in kept]
    layer = measured(problem)
    assert layer.truncation_curve("chunks").relative.tolist() == pytest.approx(bias, abs=1e-10)
    for relative in (0.3, 0.1, 0.03):
        expected = 1 + next(k for k, value in enumerate(bias) if value <= relative or k == 11)
        assert layer.truncation_length(relative, how="chunks") == expected


def test_constant_forget_gate_needs_22_steps() -> None:
    """W_hh = 0, f = .9, c = 0, loss on c_n: bias(k) = (.9^k - .9^T) / (1 - .9^T)."""
    steps = 200
    lstm, zeros = forget_only(logit(0.9)), torch.zeros(1, 2, 3, dtype=FLOAT64)
    x = torch.zeros(steps, 2, 1, dtype=FLOAT64)
    layer = carousel.measure(lstm, lambda: lstm(x, (zeros, zeros))[1][1].sum())["l0"]
    curve = layer.truncation_curve()
    expected = [(0.9**k - 0.9**steps) / (1 - 0.9**steps) for k in range(1, steps + 1)]
    assert curve.relative.tolist() == pytest.approx(expected, abs=1e-12)
    assert layer.truncation_length(0.1) == 22
    assert layer.truncation_length(relative=0.9) == 1
    assert curve.length(0.1, "bias_ih") == 22
    assert curve.parameters["weight_ih"].isnan().all()  # x is zero: there is no gradient
    by_step = layer.truncation(22).relative_c[:, 0]
    assert by_step.tolist() == pytest.approx([1.0] * (steps - 22) + [0.0] * 22)


def test_constant_forget_gate_in_chunks() -> None:
    """Of a loss on c_n the last chunk alone is left: of 200 steps 22 at least are, first at 25."""
    steps = 200
    lstm, zeros = forget_only(logit(0.9)), torch.zeros(1, 2, 3, dtype=FLOAT64)
    x = torch.zeros(steps, 2, 1, dtype=FLOAT64)
    layer = carousel.measure(lstm, lambda: lstm(x, (zeros, zeros))[1][1].sum())["l0"]
    curve = layer.truncation_curve("chunks")
    last = [steps - k * ((steps - 1) // k) for k in range(1, steps + 1)]
    expected = [(0.9**left - 0.9**steps) / (1 - 0.9**steps) for left in last]
    assert curve.relative.tolist() == pytest.approx(expected, abs=1e-12)
    assert layer.truncation_length(0.1, "chunks") == 25
    assert float(curve.relative[198]) == pytest.approx(0.9)  # chunks of 199 leave it one step
    assert curve.length(1e-4) == 100  # 88 steps do, but chunks of 88 .. 99 leave fewer
    assert curve.length(1e-9) == 200


def test_a_curve_that_is_not_monotone() -> None:
    """The length is where the bias stays below, not where it first dips below."""
    curve = carousel.flow.TruncationCurve(
        k=torch.arange(1, 6),
        parameters={},
        cosines={},
        relative=torch.tensor([0.5, 0.05, 0.4, 0.08, 0.0]),
        cosine=torch.ones(5),
    )
    assert curve.length(0.1) == 4
    assert curve.length(0.45) == 2
    assert curve.length(0.01) == 5
    chunks = replace(curve, how="chunks")
    assert [chunks.length(relative) for relative in (0.1, 0.45, 0.01)] == [2, 2, 5]


def test_a_gradient_that_changes_its_sign_on_the_way_back() -> None:
    """w = -1 with losses 1, .., 1: truncated sums jump between too much and too little."""
    rnn = nn.RNN(1, 1).to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.fill_(-0.9)
        rnn.weight_ih_l0.fill_(1.0)
    x = torch.zeros(30, 1, 1, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())["l0"]
    bias = layer.truncation_curve().parameters["bias_ih"]
    full = sum((-0.9) ** lag for lag in range(30))
    expected = [abs(sum((-0.9) ** lag for lag in range(k)) - full) / full for k in range(1, 31)]
    assert bias.tolist() == pytest.approx(expected, abs=1e-12)
    cosine = layer.truncation(2).parameters["bias_ih"].cosine
    assert cosine == pytest.approx(1.0)


@pytest.mark.parametrize("w", [1e-200, 1e200])
def test_beyond_the_range_of_float64(w: float) -> None:
    """Shares do not know how large the gradient is: w^19 leaves the range in both directions."""
    rnn = nn.RNN(1, 1).to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.fill_(w)
    x = torch.zeros(20, 1, 1, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())["l0"]
    found = layer.truncation(5)
    assert found.relative_h[:, 0].tolist() == [1.0] * 15 + [0.0] * 5
    assert found.parameters["bias_ih"].relative == pytest.approx(0.0 if w < 1 else 1.0, abs=1e-12)
    assert layer.truncation_length(0.1) == (1 if w < 1 else 20)


def test_one_step() -> None:
    layer = measured(Problem(Case(cell="lstm", steps=1, batch=1, state="given")))
    assert layer.truncation(1).all_parameters.relative < 1e-14
    assert layer.truncation_length() == 1
    assert layer.truncation(5, "chunks").relative_h.tolist() == [[0.0]]


def test_a_cut_ends_what_is_compared() -> None:
    """Where the user detaches every 3 steps, chunks of 3 lose nothing that was there."""
    problem = Problem(Case(cell="lstm", state="given", steps=9))

    def run() -> torch.Tensor:
        state, loss = problem.state, 0.0
        for x, w in zip(problem.x.split(3), problem.w_output.split(3), strict=True):
            output, state = problem.module(x, state)
            loss = loss + (w * output).sum()
            state = tuple(part.detach() for part in state)
        return loss

    layer = carousel.measure(problem.module, run)["l0"]
    assert layer.truncation(3, "chunks").all_parameters.relative < 1e-12
    assert layer.truncation(2).all_parameters.relative > 1e-3
    assert layer.truncation_length(1e-9) == 3
    assert layer.truncation_length(1e-9, "chunks") == 3
    assert layer.truncation_curve("chunks").relative[[0, 3]].min() > 1e-3


def test_the_gradient_of_1997_is_compared_with_itself() -> None:
    """Its d_c goes on through f alone; truncated at T it is whole."""
    problem = Own(Case(cell="lstm_1997", state="given", steps=7), options={"gradient": "1997"})
    layer = measured(problem, "all")
    assert layer.truncation(7).all_parameters.relative < 1e-12
    assert layer.truncation(1).relative_h.nan_to_num(0.0).max() < 1e-12
    assert layer.truncation(1).relative_c[:-1].min() > 1e-3


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_a_k_that_is_no_number_of_steps(k: object) -> None:
    layer = measured(Problem(PLAIN[0]))
    with pytest.raises(CarouselError, match="whole number of steps from 1 on"):
        layer.truncation(k)


def test_other_mistakes_are_named() -> None:
    layer = measured(Problem(PLAIN[0]))
    with pytest.raises(CarouselError, match=r"'middle'\. Expected one of: window, chunks"):
        layer.truncation(2, "middle")
    for call in (layer.truncation_curve, lambda how: layer.truncation_length(0.1, how)):
        with pytest.raises(CarouselError, match=r"'middle'\. Expected one of: window, chunks"):
            call("middle")
    with pytest.raises(CarouselError, match="relative difference above 0"):
        layer.truncation_length(0.0)
    with pytest.raises(CarouselError, match=r"no parameter 'w'.* weight_ih"):
        layer.truncation_curve().length(0.1, "w")
    dead = linear_chain(0.0)
    x = torch.zeros(4, 1, 1, dtype=FLOAT64)
    layer = carousel.measure(dead, lambda: (0.0 * dead(x)[0]).sum())["l0"]
    assert math.isnan(layer.truncation(2).all_parameters.relative)
    with pytest.raises(CarouselError, match="of the layer is exactly zero"):
        layer.truncation_length()
    with pytest.raises(CarouselError, match="is exactly zero, so nothing"):
        layer.truncation_length(how="chunks")
