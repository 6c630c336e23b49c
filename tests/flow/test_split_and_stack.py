"""Injected against carried by step, and the horizon of chunks, of a stack, of the 1997 gradient."""

from __future__ import annotations

import math

import pytest
import torch
from tests.cases import Case, Problem, few
from tests.flow.test_known_answers import forget_only, logit
from tests.trace.own_layers import Own
from torch import nn

import carousel
from carousel.flow import LayerFlow

FLOAT64 = torch.float64


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_the_two_parts_make_the_total(case: Case) -> None:
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        found = layer.split()
        carried = layer.d_h - layer.d_h_injected
        square = layer.d_h.square().sum(-1)
        there = square > 0
        assert there.any()
        for share, part, log10 in [
            (found.injected, layer.d_h_injected, found.log10_injected),
            (found.carried, carried, found.log10_carried),
        ]:
            expected = (part * layer.d_h).sum(-1) / square
            torch.testing.assert_close(share[there], expected[there], rtol=1e-12, atol=1e-12)
            assert share[~there].isnan().all()
            torch.testing.assert_close(log10, part.norm(dim=-1).log10(), rtol=0, atol=1e-10)
        whole = (found.injected + found.carried)[there]
        torch.testing.assert_close(whole, torch.ones_like(whole), rtol=1e-12, atol=0)


def test_split_of_a_doubling_chain() -> None:
    """d_h = 15, 7, 3, 1 of which 1 is injected at each step."""
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False).to(FLOAT64)
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(2.0)
        rnn.weight_ih_l0.zero_()
    x, h0 = torch.zeros(4, 1, 1, dtype=FLOAT64), torch.ones(1, 1, 1, dtype=FLOAT64)
    found = carousel.measure(rnn, lambda: rnn(x, h0)[0].sum())["l0"].split()
    assert found.injected.flatten().tolist() == pytest.approx([1 / 15, 1 / 7, 1 / 3, 1.0])
    assert found.carried.flatten().tolist() == pytest.approx([14 / 15, 6 / 7, 2 / 3, 0.0])
    assert found.log10_carried[3, 0] == -math.inf


def test_split_beyond_the_range() -> None:
    """Nothing is injected before the last step, however small the carried part has become."""
    rnn = nn.RNN(1, 1).to(torch.float32)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.fill_(1e-30)
    x = torch.zeros(20, 1, 1)
    found = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())["l0"].split()
    assert found.injected.flatten().tolist() == [0.0] * 19 + [1.0]
    assert found.carried.flatten().tolist() == [1.0] * 19 + [0.0]
    assert found.log10_carried[0, 0] == pytest.approx(-30.0 * 19, rel=1e-6)


def in_chunks(
    problem: Problem, size: int, *, detach: bool = False, scale: float = 1.0
) -> LayerFlow:
    def run() -> torch.Tensor:
        state, loss = problem.state, torch.zeros((), dtype=problem.dtype)
        for x in problem.x.split(size):
            output, state = problem.module(x, state)
            loss = loss + output.square().sum()
            parts = state if isinstance(state, tuple) else (state,)
            parts = tuple(scale * (part.detach() if detach else part) for part in parts)
            state = parts if isinstance(state, tuple) else parts[0]
        return loss

    return carousel.measure(problem.module, run)["l0"]


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_the_horizon_crosses_calls_that_took_the_state_over(cell: str, *, detach: bool) -> None:
    """In chunks of 4 steps no rate could be had; over the boundaries it is that of the whole."""
    problem = Problem(Case(cell=cell, steps=60, state="given"))
    whole = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"].horizon()
    layer = in_chunks(problem, 4, detach=detach)
    found = layer.horizon()
    assert len(layer.boundaries) == 14
    assert found.kind == whole.kind == "decaying"
    assert found.lags == whole.lags
    assert found.rate == pytest.approx(whole.rate, rel=1e-9)


def test_the_horizon_ends_where_the_state_was_changed() -> None:
    problem = Problem(Case(cell="lstm", steps=60, state="given"))
    layer = in_chunks(problem, 40, scale=0.5)
    assert layer.boundaries == (40,)
    assert layer.horizon().lags == 19


def test_the_horizon_of_a_stack_is_that_of_its_whole_state() -> None:
    """Against the product of the Jacobians of all layers' states together, by autograd."""
    steps, hidden, layers = 400, 3, 2
    torch.manual_seed(1)
    stack = nn.LSTM(2, hidden, num_layers=layers).to(FLOAT64)
    with torch.no_grad():  # the lower layer remembers longer
        stack.bias_ih_l0[hidden : 2 * hidden] += 2.0
    x = torch.randn(steps, 1, 2, dtype=FLOAT64)
    flow = carousel.measure(stack, lambda: stack(x)[0].square().sum())
    assert flow.slowest.name == "l0"
    horizon = flow.horizon()
    assert horizon == flow["l0"].horizon()
    assert horizon.rate > flow["l1"].horizon().rate + 0.1

    def one(state: torch.Tensor, t: int) -> torch.Tensor:
        h, c = state.view(2, layers, 1, hidden)
        h, c = stack(x[t : t + 1], (h, c))[1]
        return torch.cat([h.flatten(), c.flatten()])

    state, logs = torch.zeros(4 * hidden, dtype=FLOAT64), []
    states = [state]
    for t in range(steps):
        state = one(state, t).detach()
        states.append(state)
    product, scale = torch.eye(4 * hidden, dtype=FLOAT64), 0.0
    for t in range(steps - 1, 0, -1):
        product = product @ torch.autograd.functional.jacobian(lambda s, t=t: one(s, t), states[t])
        size = float(product.norm())
        product, scale = product / size, scale + math.log(size)
        logs.append(scale)
    rate = (logs[-1] - logs[49]) / (len(logs) - 50)
    assert horizon.rate == pytest.approx(rate, rel=0.03)
    low, high = horizon.rate_interval
    assert low < rate < high


def test_which_layer_is_the_slowest() -> None:
    def horizons(**layers: tuple[str, float]) -> dict[str, carousel.flow.Horizon]:
        return {
            name: carousel.flow.Horizon(kind, rate, (rate, rate), 9)
            for name, (kind, rate) in layers.items()
        }

    pick = carousel.flow._slowest.slowest
    short, zero = ("too short", math.nan), ("zero", -math.inf)
    fast, slow, up = ("decaying", -2.0), ("decaying", -0.1), ("growing", 0.1)
    assert pick(horizons(a=fast, b=slow)) == "b"
    assert pick(horizons(a=up, b=slow)) == "a"
    assert pick(horizons(a=short, b=fast, c=zero)) == "b"
    assert pick(horizons(a=short, b=zero)) == "b"
    assert pick(horizons(a=short)) == "a"
    assert pick(horizons(a=up, b=("nonfinite", math.nan))) == "b"


def test_the_horizon_of_the_gradient_of_1997() -> None:
    """Without a forget gate its error is carried on unchanged; the full gradient is not."""
    torch.manual_seed(0)
    x = torch.randn(60, 2, 3, dtype=FLOAT64)
    found = {}
    for gradient in ("full", "1997"):
        torch.manual_seed(1)
        lstm = carousel.LSTM(3, 4, variant="1997", gradient=gradient).to(FLOAT64)
        layer = carousel.measure(lstm, lambda m=lstm: m(x)[1][1].sum())["l0"]
        found[gradient] = layer
    cut = found["1997"].horizon()
    assert cut.kind == "level"
    assert cut.rate == pytest.approx(0.0, abs=1e-12)
    assert abs(found["full"].horizon().rate) > 1e-3
    log10 = found["1997"].jacobian_norms().log10
    # h leads nowhere, and c_t shows in h_t alone: |(0 d_h, 1)| from the last step's own rows.
    assert log10[1:].std(dim=0).max() < 1e-12
    assert any("are those of this way back" in note for note in found["1997"].notes)
    assert not found["full"].notes


def test_a_truncated_forget_gate_decays_as_f() -> None:
    """Whatever W_hh is, the truncated gradient of c decays with the forget gates alone."""
    problem = Own(Case(cell="lstm", steps=60, hidden=1), options={"gradient": "1997"})
    with torch.no_grad():
        problem.module.weight_ih_l0.zero_()
        problem.module.weight_hh_l0[1] = 0.0  # the gate f sees nothing
        problem.module.bias_ih_l0[1], problem.module.bias_hh_l0[1] = logit(0.9), 0.0
    horizon = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"].horizon()
    assert horizon.rate == pytest.approx(math.log(0.9), rel=1e-9)


def test_half_life_of_a_forget_gate_in_chunks() -> None:
    lstm = forget_only(logit(0.5))
    x, ones = torch.zeros(5, 2, 1, dtype=FLOAT64), torch.ones(1, 2, 3, dtype=FLOAT64)

    def run() -> torch.Tensor:
        state = (ones, ones)
        for _ in range(8):
            state = lstm(x, state)[1]
        return state[1].sum()

    assert carousel.measure(lstm, run)["l0"].horizon().half_life == pytest.approx(1.0, rel=1e-9)
