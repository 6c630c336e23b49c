"""A user's hook on the state between two calls changes what is carried, not what is injected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import assert_close
from tests.trace.own_layers import Own

import carousel
from carousel.flow import LayerFlow

FLOAT64 = torch.float64
State = Callable[[torch.Tensor], torch.Tensor]


def half(gradient: torch.Tensor) -> torch.Tensor:
    return 0.5 * gradient


def on_it(part: torch.Tensor) -> torch.Tensor:
    part.register_hook(half)
    return part


def after_one(part: torch.Tensor) -> torch.Tensor:
    return on_it(part * 1)


def before_one(part: torch.Tensor) -> torch.Tensor:
    part.register_hook(half)
    return part * 1


def measured(problem: Problem, between: State, *, also_h_n: bool = False) -> LayerFlow:
    """Two calls of three steps, with random weights on every output."""

    def run() -> torch.Tensor:
        state, loss = problem.state, torch.zeros((), dtype=FLOAT64)
        for x, w in zip(problem.x.split(3), problem.w_output.split(3), strict=True):
            output, state = problem.module(x, state)
            loss = loss + (w * output).sum()
            if also_h_n:
                h_n = state[0] if isinstance(state, tuple) else state
                loss = loss + (problem.w_h_n * h_n).sum()
            state = (
                tuple(between(part) for part in state)
                if isinstance(state, tuple)
                else between(state)
            )
        return loss

    with carousel.watch(problem.module) as watcher:
        run().backward()
    return watcher.flow["l0"]


@pytest.mark.parametrize("kind", [Problem, Own])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize(
    ("between", "note"),
    [
        (on_it, "changed gradients on their way into the module"),
        (before_one, "changed gradients on their way into the module"),
        (after_one, "stands on the state between calls"),
    ],
)
def test_what_is_injected_stays(between: State, note: str, cell: str, kind: type[Problem]) -> None:
    problem = kind(Case(cell=cell, steps=6, state="given"))
    layer = measured(problem, between)
    assert layer.boundaries == (3,)
    assert any(note in said for said in layer.notes), layer.notes
    assert_close(layer.d_h_injected, problem.w_output, 6, FLOAT64, "d_h_injected")
    if layer.d_c_injected is not None:
        assert float(layer.d_c_injected.abs().max()) < 1e-14
    plain = measured(kind(problem.case), lambda state: state)
    assert not any("hook" in said for said in plain.notes)
    carried, whole = (each.d_h[2] - problem.w_output[2] for each in (layer, plain))
    if layer.c is None:
        assert_close(carried, 0.5 * whole, 6, FLOAT64, "carried")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_hook_on_what_was_not_carried_alone_is_said(cell: str) -> None:
    problem = Problem(Case(cell=cell, steps=6, state="given"))
    layer = measured(problem, on_it, also_h_n=True)
    assert any("What it changed counts as injected" in said for said in layer.notes)


def test_retained_gradients_are_no_hook() -> None:
    problem = Problem(Case(cell="gru", steps=6, state="given"))

    def keep(part: torch.Tensor) -> torch.Tensor:
        part = part * 1
        part.retain_grad()
        return part

    assert not any("hook" in said for said in measured(problem, keep).notes)
