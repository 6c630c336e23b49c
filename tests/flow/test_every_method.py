"""Every public member of a layer in every awkward situation: an answer, or a refusal by name.

Whether the answers are right is the business of the other tests. Here nothing may end in an error
that is not a CarouselError, and what is refused is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
from tests.cases import Case, Problem
from tests.trace.own_layers import Own
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Flow, LayerFlow

FLOAT64 = torch.float64


def both(case: Case, loss: str = "all", dtype: torch.dtype = FLOAT64) -> Flow:
    problem = Problem(case, dtype)
    return carousel.measure(problem.module, lambda: problem.loss(loss))


def own(cell: str, **options: str) -> Flow:
    problem = Own(Case(cell=cell, steps=6, state="given"), options=options)
    return carousel.measure(problem.module, lambda: problem.loss("all"))


def without_gradient() -> Flow:
    """What comes back is zero."""
    problem = Problem(Case(cell="lstm", steps=6, state="given", layers=2))
    return carousel.measure(problem.module, lambda: 0 * problem.loss("all"))


def only_the_first() -> Flow:
    problem = Problem(Case(cell="lstm", steps=6))
    return carousel.measure(problem.module, lambda: problem.call()[0][0].sum())


def broken() -> Flow:
    problem = Problem(Case(cell="lstm", steps=6))
    problem.x[2, 0, 0] = math.nan
    return carousel.measure(problem.module, lambda: problem.loss("all"))


def all_broken() -> Flow:
    problem = Problem(Case(cell="gru", steps=6))
    problem.x[0] = math.nan
    return carousel.measure(problem.module, lambda: problem.loss("all"))


def in_calls(change: Callable[[torch.Tensor], torch.Tensor]) -> Flow:
    problem = Problem(Case(cell="lstm", steps=6, state="given"))

    def run() -> torch.Tensor:
        state, loss = problem.state, torch.zeros((), dtype=FLOAT64)
        for x, w in zip(problem.x.split(2), problem.w_output.split(2), strict=True):
            output, state = problem.module(x, state)
            loss = loss + (w * output).sum()
            state = tuple(change(part) for part in state)
        return loss

    return carousel.measure(problem.module, run)


def opaque(steps: int = 6, batch: int = 3, *, c: bool = True, last: bool = False) -> Flow:
    """An LSTM, or a tanh RNN, that is known as a function alone."""
    cell = (nn.LSTMCell if c else nn.RNNCell)(2, 4).to(FLOAT64)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(steps, batch, 2, generator=generator, dtype=FLOAT64)
    h = torch.randn(batch, 4, generator=generator, dtype=FLOAT64)

    def loss(states: object) -> torch.Tensor:
        part = states[-1] if c else states
        return (part[-1] if last else part).square().sum()

    return carousel.measure_cell(cell, x, (h, h) if c else h, loss)


# What a layer refuses, by the words of the refusal.
FUNCTION = dict.fromkeys(
    (
        *("gates", "pre_activations", "paths", "step_terms", "carousel_share", "gradient_1997"),
        *("omega", "parameter_terms", "truncation_curve", "truncation_length"),
    ),
    "measured as a function",
)
NO_C = {"gradient_1997": "does not have"}
NO_CAROUSEL = {**NO_C, "carousel_share": "no carousel"}
ONE_STEP = {
    "step_terms": "has one before it",
    "jacobian_product": "start",
    "reach": "Measure longer sequences",
}
NO_GRADIENT = {"truncation_length": "is (exactly zero|not finite), so nothing"}

SITUATIONS: dict[str, tuple[Callable[[], Flow], dict[str, str]]] = {
    "lstm": (lambda: both(Case(cell="lstm", steps=6, state="given")), {}),
    "long": (lambda: both(Case(cell="lstm", steps=60, state="given")), {}),
    "gru": (lambda: both(Case(cell="gru", steps=6)), NO_C),
    "relu": (lambda: both(Case(cell="rnn_relu", steps=6)), NO_CAROUSEL),
    "projected": (lambda: both(Case(cell="lstm", projected=True, steps=6)), {}),
    "one step": (lambda: both(Case(cell="lstm", steps=1)), ONE_STEP),
    "one step of gru": (lambda: both(Case(cell="gru", steps=1, state="given")), NO_C | ONE_STEP),
    "one step of relu": (lambda: both(Case(cell="rnn_relu", steps=1)), NO_CAROUSEL | ONE_STEP),
    "one sequence": (lambda: both(Case(cell="lstm", steps=6, batch=1)), {}),
    "one of all": (lambda: both(Case(cell="lstm", steps=1, batch=1, hidden=1)), ONE_STEP),
    "stack, both ways, ragged": (
        lambda: both(Case(cell="lstm", layers=2, bidirectional=True, ragged="unsorted", steps=6)),
        {},
    ),
    "float32": (lambda: both(Case(cell="lstm", steps=6), dtype=torch.float32), {}),
    "loss on c_n": (lambda: both(Case(cell="lstm", steps=6), "c_n"), {}),
    "loss on the first step": (only_the_first, {}),
    "no gradient": (without_gradient, NO_GRADIENT),
    "state is NaN in one sequence": (broken, NO_GRADIENT),
    "state is NaN throughout": (all_broken, NO_C | NO_GRADIENT),
    "calls": (lambda: in_calls(lambda state: state), {}),
    "calls, detached": (lambda: in_calls(torch.Tensor.detach), {}),
    "calls, reset": (lambda: in_calls(torch.zeros_like), {}),
    "calls, changed": (lambda: in_calls(lambda state: 0.5 * state), {}),
    "truncated as in 1997": (lambda: own("lstm_1997", gradient="1997"), {}),
    "peepholes": (lambda: own("lstm_peephole"), {}),
    "cifg": (lambda: own("lstm_cifg"), {}),
    "without output gate": (lambda: own("lstm_nog"), {}),
    "function": (opaque, FUNCTION),
    "function without c": (lambda: opaque(c=False), FUNCTION | NO_C),
    "function, long": (lambda: opaque(60), FUNCTION),
    "function, one step": (lambda: opaque(1, 1), FUNCTION | ONE_STEP),
    "function, loss on c_n": (lambda: opaque(last=True), FUNCTION),
}


CALLS: dict[str, Callable[[LayerFlow], object]] = {
    "norm": lambda layer: layer.norm("d_h"),
    "log10_norm": lambda layer: layer.log10_norm("d_h_injected"),
    "category": lambda layer: layer.category("h"),
    "tiny": lambda layer: layer.tiny("d_h"),
    "split": lambda layer: layer.split(),
    "itemised": lambda layer: layer.itemised(vectors_at=[0]),
    "paths": lambda layer: (layer.paths().shares(), layer.paths().parts),
    "carousel_share": lambda layer: layer.carousel_share().share,
    "step_terms": lambda layer: layer.step_terms(min(1, layer.steps - 1)).total,
    "gradient_1997": lambda layer: layer.gradient_1997(),
    "omega": lambda layer: layer.omega().total,
    "horizon": lambda layer: (layer.horizon(), str(layer.horizon())),
    "reach": lambda layer: layer.reach(layer.steps - 1),
    "jacobian_norms": lambda layer: layer.jacobian_norms(),
    "jacobian_product": lambda layer: layer.jacobian_product(0, layer.steps - 1),
    "eigenvalues": lambda layer: layer.eigenvalues(0),
    "spectrum": lambda layer: (layer.spectrum(), str(layer.spectrum())),
    "parameter_terms": lambda layer: layer.parameter_terms("weight_hh"),
    "truncation": lambda layer: [layer.truncation(2, how) for how in ("window", "chunks")],
    "truncation_curve": lambda layer: [layer.truncation_curve(how) for how in ("window", "chunks")],
    "truncation_length": lambda layer: [
        layer.truncation_length(0.1, how) for how in ("window", "chunks")
    ],
    "to_frame": lambda layer: layer.to_frame(),
    "to_xarray": lambda layer: layer.to_xarray(),
    "plot": lambda layer: layer.plot,
}
WRITES = {"to_parquet", "trace"}  # tested where tables are; what all of it is made from
VALUES = sorted(
    name
    for name in dir(LayerFlow)
    if not name.startswith("_") and name not in CALLS and name not in WRITES
)


def test_no_member_is_left_out() -> None:
    public = {name for name in dir(LayerFlow) if not name.startswith("_")}
    assert set(CALLS) <= public
    assert all(not callable(getattr(LayerFlow, name)) for name in VALUES)
    refused = {name for _, refusals in SITUATIONS.values() for name in refusals}
    assert refused <= public


@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_answer_or_a_refusal(situation: str) -> None:
    make, refusals = SITUATIONS[situation]
    for layer in make().layers.values():
        wrong = []
        for name in (*VALUES, *CALLS):
            call = CALLS.get(name, lambda layer, name=name: getattr(layer, name))
            try:
                found = call(layer)
            except CarouselError as error:
                if name not in refusals or not re.search(refusals[name], str(error)):
                    wrong.append(f"{name}: refused: {error}")
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                wrong.append(f"{name}: {type(error).__name__}: {error}")
            else:
                if name in refusals:
                    wrong.append(f"{name}: answered, where a refusal was expected: {found}")
        horizon = layer.horizon()
        if (horizon.kind in ("decaying", "growing", "level")) != math.isfinite(horizon.rate):
            wrong.append(f"horizon: {horizon}")
        assert not wrong, f"{layer.name} ({situation}):\n" + "\n".join(wrong)
