"""Itemised gradients against autograd, one backward pass for each loss, and known answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import reference_of, run_loop
from tests.tolerances import assert_close
from tests.trace.own_layers import Own
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Itemised, LayerFlow, _itemised

FLOAT64 = torch.float64
PLAIN = [
    Case(cell="rnn_tanh", state="given"),
    Case(cell="rnn_relu", state="given"),
    Case(cell="gru", state="given"),
    Case(cell="lstm", state="given"),
    Case(cell="lstm", state="given", projected=True),
]
CASES = [
    replace(case, ragged=ragged, layers=layers, bidirectional=both, steps=steps, batch=batch)
    for case in PLAIN
    for ragged, layers, both, steps, batch in [
        ("no", 1, False, 5, 3),
        ("unsorted", 2, True, 5, 3),
        ("sorted", 1, True, 40, 3),
        ("unbatched", 1, False, 20, 1),
        ("no", 1, False, 1, 1),
    ]
]


def measured(problem: Problem, loss: str = "all") -> carousel.Flow:
    return carousel.measure(problem.module, lambda: problem.loss(loss))


def whole(layer: LayerFlow) -> Itemised:
    return layer.itemised(vectors_at=range(layer.steps))


def assert_adds_up(layer: LayerFlow, items: Itemised, rtol: float = 1e-10) -> None:
    for vectors, total, share in [
        (items.d_h, layer.d_h, items.share_h),
        (items.d_c, layer.d_c, items.share_c),
    ]:
        if total is None:
            assert vectors is None
            assert share is None
            continue
        assert (vectors.sum(0) - total).abs().max() <= rtol * total.abs().max()
        whole_share = share.sum(0)
        there = total.norm(dim=-1) > 0
        assert there.any()
        torch.testing.assert_close(
            whole_share[there], torch.ones_like(whole_share[there]), rtol=0, atol=1e-9
        )
        assert share[:, ~there].isnan().all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_items_add_up_to_the_total(case: Case) -> None:
    flow = measured(Problem(case))
    for layer in flow.layers.values():
        items = whole(layer)
        assert_adds_up(layer, items)
        assert items.losses.tolist() == items.steps.tolist() == list(range(layer.steps))
        for log10, vectors in [(items.log10_h, items.d_h), (items.log10_c, items.d_c)]:
            if vectors is not None:
                expected = vectors.norm(dim=-1).log10()
                torch.testing.assert_close(log10, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.id)
@pytest.mark.parametrize("both", [False, True])
def test_each_item_is_what_autograd_sends_from_its_step(case: Case, *, both: bool) -> None:
    """One backward pass of the equations for each step's loss; h_n and c_n belong to the last."""
    problem = Problem(replace(case, bidirectional=both, ragged="unsorted", steps=5))
    flow = measured(problem)
    loop = run_loop(problem)
    names = problem.case.layer_names
    for place, name in enumerate(names):
        layer, recorded = flow[name], loop.recorded[name]
        items = whole(layer)
        first, size = place * problem.case.state_size, problem.case.state_size
        for s in range(layer.steps):
            last = layer.lengths - 1 if layer.direction == "forward" else torch.zeros(3)
            ends = (last == s).double().unsqueeze(-1)
            output = (problem.w_output[s] * loop.output[s])[:, first : first + size]
            loss = output.sum() + (ends * problem.w_h_n[place] * loop.h_n[place]).sum()
            if loop.c_n is not None:
                loss = loss + (ends * problem.w_c_n[place] * loop.c_n[place]).sum()
            for state in (*recorded.h, *(c for c in recorded.c if c is not None)):
                state.grad = None
            loss.backward(retain_graph=True)
            expected = reference_of(recorded, problem.lengths)
            # Only this step's part: the loop's own h_n carries nothing else.
            assert_close(items.d_h[s], expected.d_h, 5, FLOAT64, f"d_h from {s} of {name}")
            if expected.d_c is not None:
                assert_close(items.d_c[s], expected.d_c, 5, FLOAT64, f"d_c from {s} of {name}")


@pytest.mark.parametrize(
    "cell", ["lstm_peephole", "lstm_cifg", "lstm_1997", "lstm_nog", "gru", "rnn_sigmoid"]
)
def test_own_layers(cell: str) -> None:
    problem = Own(Case(cell=cell, state="given", steps=7, layers=2))
    for layer in measured(problem).layers.values():
        assert_adds_up(layer, whole(layer))


@pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "lstm_cifg"])
def test_the_gradient_of_1997_is_itemised_as_it_came(cell: str) -> None:
    problem = Own(Case(cell=cell, state="given", steps=7), options={"gradient": "1997"})
    layer = measured(problem)["l0"]
    items = whole(layer)
    assert_adds_up(layer, items)
    # Nothing leaves h: an item on d_h is there at its own step and nowhere else.
    lower = items.log10_h.masked_fill(torch.eye(7, dtype=torch.bool).unsqueeze(-1), -math.inf)
    assert (lower == -math.inf).all()
    assert items.log10_c.isfinite().any(-1).sum() == 7 * 8 / 2


def test_float32() -> None:
    problem = Problem(Case(cell="lstm", state="given", steps=60), dtype=torch.float32)
    layer = measured(problem)["l0"]
    items = whole(layer)
    error = (items.d_h.double().sum(0) - layer.d_h.double()).abs().max()
    assert error <= 1e-4 * layer.d_h.abs().max()


def test_doubling_chain() -> None:
    """x_t = 2 x_{t-1}, a loss of 1 at each of four steps: G[s, t] = 2^(s-t)."""
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False).to(FLOAT64)
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(2.0)
        rnn.weight_ih_l0.zero_()
    x, h0 = torch.zeros(4, 1, 1, dtype=FLOAT64), torch.ones(1, 1, 1, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x, h0)[0].sum())["l0"]
    items = layer.itemised(vectors_at=range(4))
    expected = [[2.0 ** (s - t) if t <= s else 0.0 for t in range(4)] for s in range(4)]
    assert items.d_h.squeeze().tolist() == expected
    assert items.share_h[:, 0, 0].tolist() == pytest.approx([1 / 15, 2 / 15, 4 / 15, 8 / 15])


@pytest.mark.parametrize(("w", "dtype"), [(1e-30, torch.float32), (1e-200, FLOAT64)])
@pytest.mark.parametrize("grows", [False, True])
def test_beyond_the_range_of_the_dtype(w: float, dtype: torch.dtype, *, grows: bool) -> None:
    """log10 G[s, t] = (s - t) log10 w, down to 1e-3800 and up to 1e3800."""
    w, steps = (1 / w if grows else w), 20
    rnn = nn.RNN(1, 1).to(dtype)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.fill_(w)
    x = torch.zeros(steps, 1, 1, dtype=dtype)
    layer = carousel.measure(rnn, lambda: rnn(x)[0].sum())["l0"]
    per_step = math.log10(rnn.weight_hh_l0.item())
    found = layer.itemised().log10_h[:, :, 0]
    for s in range(steps):
        expected = [per_step * (s - t) for t in range(s + 1)]
        rounding = steps * torch.finfo(dtype).eps
        assert found[s, : s + 1].tolist() == pytest.approx(expected, abs=rounding, rel=1e-15)
        assert (found[s, s + 1 :] == -math.inf).all()


def test_a_selection_is_a_part_of_the_whole() -> None:
    problem = Problem(
        Case(cell="lstm", state="given", steps=30, ragged="unsorted", bidirectional=True)
    )
    for layer in measured(problem).layers.values():
        everything = whole(layer)
        some = layer.itemised(losses=[25, 3, 27], t_from=2, t_to=29, vectors_at=[2, 20])
        assert some.losses.tolist() == [25, 3, 27]
        assert some.steps.tolist() == list(range(2, 29))
        for name in ("log10_h", "log10_c", "share_h", "share_c"):
            part = getattr(everything, name)[[25, 3, 27], 2:29]
            torch.testing.assert_close(
                getattr(some, name), part, rtol=0, atol=1e-12, equal_nan=True
            )
        part = everything.d_h[[25, 3, 27]][:, [2, 20]]
        torch.testing.assert_close(some.d_h, part, rtol=1e-12, atol=1e-14)


def test_small_chunks_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(Case(cell="lstm", state="given", steps=40))
    layer = measured(problem)["l0"]
    expected = whole(layer)
    monkeypatch.setattr(_itemised, "CACHE_BYTES", 1)
    monkeypatch.setattr(_itemised, "LEAST_CHUNK", 3)
    monkeypatch.setattr(_itemised, "BLOCK", 7)
    found = whole(layer)
    torch.testing.assert_close(found.d_h, expected.d_h, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(found.log10_c, expected.log10_c, rtol=0, atol=1e-12)


def test_a_sequence_that_is_not_finite_leaves_the_others_alone() -> None:
    problem = Problem(Case(cell="lstm", steps=6))
    problem.w_output[3, 1, 0] = math.nan
    layer = measured(problem)["l0"]
    items = layer.itemised()
    assert items.log10_h[3, :4, 1].isnan().all()
    assert not items.log10_h[:, :, [0, 2]].isnan().any()
    assert items.log10_h[4, :5, 1].isfinite().all()


class TestCalls:
    """Items over the boundaries of several calls that are one timeline."""

    def chunks(self, problem: Problem, change: Callable[..., object]) -> LayerFlow:
        def run() -> torch.Tensor:
            state, loss = problem.state, 0.0
            for part, w in zip(problem.x.split(3), problem.w_output.split(3), strict=True):
                output, state = problem.module(part, state)
                loss = loss + (w * output).sum()
                state = change(state)
            return loss

        return carousel.measure(problem.module, run)["l0"]

    def case(self) -> Problem:
        return Problem(Case(cell="lstm", state="given", steps=9))

    def test_unchanged_state_carries_items_over(self) -> None:
        problem = self.case()
        expected = whole(measured(problem, "output")["l0"])
        layer = self.chunks(problem, lambda state: state)
        assert layer.boundaries == (3, 6)
        found = whole(layer)
        torch.testing.assert_close(found.d_h, expected.d_h, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found.d_c, expected.d_c, rtol=1e-10, atol=1e-13)

    def test_detached_state_ends_them(self) -> None:
        layer = self.chunks(self.case(), lambda state: tuple(part.detach() for part in state))
        assert layer.cuts == (3, 6)
        items = whole(layer)
        assert_adds_up(layer, items)
        assert (items.log10_h[3:, :3] == -math.inf).all()
        assert (items.log10_h[6:, 3:6] == -math.inf).all()
        assert items.log10_h[5, 3].isfinite().all()

    @pytest.mark.parametrize(
        ("change", "followed"),
        [
            (
                lambda state: (0.5 * state[0], 0.3 * state[1]),
                lambda state: (0.5 * state[0].detach(), 0.3 * state[1].detach()),
            ),
            (
                lambda state: (state[0].detach(), state[1]),
                lambda state: (state[0].detach(), state[1]),
            ),
            (
                lambda state: (state[0], state[1].detach()),
                lambda state: (state[0], state[1].detach()),
            ),
            (
                lambda state: (halved(state[0]), state[1]),
                lambda state: (state[0].detach(), state[1]),
            ),
            (
                lambda state: (state[0], halved(state[1])),
                lambda state: (state[0], state[1].detach()),
            ),
        ],
        ids=["scaled", "h detached", "c detached", "h halved back", "c halved back"],
    )
    def test_an_item_goes_on_by_the_ways_that_can_be_followed(
        self, change: Callable[..., object], followed: Callable[..., object]
    ) -> None:
        """The rest, all that came back by the other ways, is an item of the boundary's step."""
        layer = self.chunks(self.case(), change)
        items = whole(layer)
        assert_adds_up(layer, items)
        expected = self.step_by_step(self.case(), followed)
        others = [0, 1, 3, 4, 6, 7, 8]
        torch.testing.assert_close(items.d_h[others], expected[others], rtol=1e-9, atol=1e-13)

    def step_by_step(self, problem: Problem, change: Callable[..., object]) -> torch.Tensor:
        """dL_s/dh_t of the loss of each step alone, by autograd, [9, 9, B, P]."""
        state, states, losses = problem.state, [], []
        for t in range(9):
            if t in (3, 6):
                state = change(state)
            _, state = problem.module(problem.x[t : t + 1], state)
            states.append(state[0])
            losses.append((problem.w_output[t] * state[0]).sum())
        rows = []
        for loss in losses:
            found = torch.autograd.grad(
                loss, states, retain_graph=True, materialize_grads=True, allow_unused=True
            )
            rows.append(torch.cat(found))
        return torch.stack(rows)

    def test_reset_of_one_sequence(self) -> None:
        mask = torch.tensor([1.0, 0.0, 1.0], dtype=FLOAT64).view(1, 3, 1)
        layer = self.chunks(self.case(), lambda state: tuple(mask * part for part in state))
        items = whole(layer)
        assert_adds_up(layer, items)
        assert (items.log10_h[3:, :3, 1] == -math.inf).all()
        assert items.log10_h[4, 1, [0, 2]].isfinite().all()


class HalfBack(torch.autograd.Function):
    """The same values; half of the gradient comes back."""

    @staticmethod
    def forward(_: object, state: torch.Tensor) -> torch.Tensor:
        return state.clone()

    @staticmethod
    def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
        return 0.5 * gradient


def halved(state: torch.Tensor) -> torch.Tensor:
    return HalfBack.apply(state)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"losses": [9]}, r"losses to be different steps of l0, from 0 to 3; got \[9\]"),
        ({"losses": [1, 1]}, "different steps"),
        ({"t_from": 2, "t_to": 2}, "t_from=2 and t_to=2"),
        ({"t_to": 2, "vectors_at": [3]}, r"every step of vectors_at .* got \[3\]"),
    ],
)
def test_steps_that_are_not_there(arguments: dict, said: str) -> None:
    layer = measured(Problem(Case(cell="gru")))["l0"]
    with pytest.raises(CarouselError, match=said):
        layer.itemised(**arguments)


def test_what_does_not_fit_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = measured(Problem(Case(cell="lstm")))["l0"]
    bytes_needed = 4 * 4 * 3 * 4 * 8
    monkeypatch.setattr(_itemised, "MOST_BYTES", bytes_needed)
    layer.itemised()
    monkeypatch.setattr(_itemised, "MOST_BYTES", bytes_needed - 1)
    with pytest.raises(CarouselError, match=f"{bytes_needed:,} bytes.*losses="):
        layer.itemised()
