"""The lesson's networks once more: equations written out in float64, and autograd through them."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor

from carousel.learn._lesson_networks import constant, one_step, reached
from carousel.learn._settings import Network, Settings, network, signal

STEPS, SEEDS = 200, (0, 1, 2)
PLAIN, LIKE_TORCH = Network("rnn-tanh"), Network("lstm")
BIAS_1, BIAS_3 = Network("lstm", forget_bias=1.0), Network("lstm", forget_bias=3.0)
ORIGINAL = Network("lstm-1997")


@dataclass(frozen=True)
class Run:
    """All states, each a node of its own in autograd's graph, and the weights."""

    h: list[Tensor]
    c: list[Tensor]
    w: dict[str, Tensor]


def affine(w: dict[str, Tensor], gates: str, x: Tensor, h: Tensor) -> dict[str, Tensor]:
    """The pre-activations by gate."""
    a = w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
    return dict(zip(gates, a.chunk(len(gates)), strict=True))


@cache
def run(one: Network, seed: int) -> Run:
    module = network(one, STEPS, seed).double()
    w = {name: p.detach() for name, p in module.named_parameters()}
    h = c = torch.zeros(one.hidden, dtype=torch.float64, requires_grad=True)
    found = Run([], [], w)
    for x in signal(Settings(steps=STEPS, seed=seed))[:, 0].double():
        if one.cell == "rnn-tanh":
            h = affine(w, "h", x, h)["h"].tanh()
        else:
            a = affine(w, "igo" if one.cell == "lstm-1997" else "ifgo", x, h)
            f = a["f"].sigmoid() if "f" in a else 1.0
            c = f * c + a["i"].sigmoid() * a["g"].tanh()
            h = a["o"].sigmoid() * c.tanh()
        found.h.append(h)
        found.c.append(c)
    return found


def norms(loss: Tensor, states: list[Tensor]) -> list[float]:
    grads = torch.autograd.grad(loss, states, retain_graph=True)
    return [float(one.norm()) for one in grads]


def reach_steps(one: Network, seed: int) -> int:
    """Steps back from the last one until less than a thousandth is left; all of them if never."""
    found = run(one, seed)
    states = found.h if one.cell == "rnn-tanh" else found.c
    back = norms(found.h[-1].square().sum() / 2, states)[::-1]
    return next((lag for lag, norm in enumerate(back) if norm < back[0] / 1000), STEPS)


@pytest.mark.parametrize("one", [PLAIN, LIKE_TORCH, BIAS_1, BIAS_3], ids=str)
def test_the_reach_of_each_seed(one: Network) -> None:
    expected = [reach_steps(one, seed) for seed in SEEDS]
    told = reached(one)
    assert told.reach_steps == sorted(expected)[1] == statistics.median(expected)
    assert (told.least_steps, told.most_steps) == (min(expected), max(expected))
    assert told.everywhere == all(reach == STEPS for reach in expected)


def test_the_middle_of_three_seeds_is_neither_end() -> None:
    """Else the test above could not tell a median from the least or the most."""
    least, middle, most = sorted(reach_steps(BIAS_1, seed) for seed in SEEDS)
    assert least < middle < most


def test_the_forget_gates_in_the_middle() -> None:
    told = one_step()
    assert (told.step, told.seed) == (STEPS // 2, 0)
    found = run(BIAS_3, 0)
    x = signal(Settings(steps=STEPS, seed=0))[told.step, 0].double()
    with torch.no_grad():
        f = affine(found.w, "ifgo", x, found.h[told.step - 1])["f"].sigmoid()
    assert told.smallest_forget == pytest.approx(min(f.tolist()), rel=1e-5)
    assert told.largest_forget == pytest.approx(max(f.tolist()), rel=1e-5)


def test_what_enters_the_state_at_the_last_step() -> None:
    found = run(BIAS_3, 0)
    d_h, d_c = norms(found.h[-1].square().sum() / 2, [found.h[-1], found.c[-1]])
    assert d_c < 0.9 * d_h  # or the other way round would do as well
    assert one_step().entered == pytest.approx(d_c / d_h, rel=1e-4)


@pytest.mark.parametrize(
    ("field", "one"), [("torch", LIKE_TORCH), ("bias_1", BIAS_1), ("bias_3", BIAS_3)]
)
def test_each_term_of_one_step(field: str, one: Network) -> None:
    """dc_t/dc_{t-1} by autograd, where only one way is left open, and with all of them."""
    told, found = one_step(), run(one, 0)
    x = signal(Settings(steps=STEPS, seed=0))[told.step, 0].double()
    before = found.c[told.step - 1].detach()
    h_before = found.h[told.step - 1].detach()
    o_before = h_before / before.tanh()

    def largest(way: str) -> float:
        def step(c: Tensor) -> Tensor:
            moving = affine(found.w, "ifgo", x, o_before * c.tanh())
            still = affine(found.w, "ifgo", x, h_before)
            a = {gate: (moving if way in (gate, "total") else still)[gate] for gate in "ifg"}
            kept = c if way in ("direct", "total") else before
            return a["f"].sigmoid() * kept + a["i"].sigmoid() * a["g"].tanh()

        jacobian = torch.autograd.functional.jacobian(step, before)
        return float(torch.linalg.matrix_norm(jacobian, 2))

    for term in told.terms:
        assert getattr(term, field) == pytest.approx(largest(term.name), rel=1e-4), term.name
    assert [term.name for term in told.terms] == ["direct", "i", "f", "g", "total"]


def test_the_state_of_1997_and_its_gradient() -> None:
    told, found = constant(), run(ORIGINAL, 0)
    assert told.size == pytest.approx(max(map(abs, found.c[-1].tolist())), rel=1e-4)
    back = norms(found.c[-1].sum(), found.c)
    assert told.full == pytest.approx(math.log10(back[0] / back[-1]), abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_size_of_a_state_that_is_forgotten(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every seed: the largest entry is negative with one of them and positive with another."""
    monkeypatch.setattr("carousel.learn._lesson_networks.SEEDS", (seed,))
    last = run(BIAS_1, seed).c[-1].tolist()
    assert constant().size_forget == pytest.approx(max(map(abs, last)), rel=1e-4)


def test_the_largest_entry_is_negative_with_some_seed() -> None:
    """Else the test above could not tell the largest from the largest in size."""
    lasts = [run(replace(BIAS_1), seed).c[-1] for seed in SEEDS]
    assert {bool(last.max() < last.abs().max()) for last in lasts} == {True, False}
