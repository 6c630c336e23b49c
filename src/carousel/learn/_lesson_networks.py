"""The numbers that the lesson quotes and that only a real network can give, and how it measures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from carousel.flow import LayerFlow, measure
from carousel.layers import GRU, LSTM, RNN
from carousel.learn._explore import carousel_alone, levels
from carousel.learn._settings import INPUT_SIZE, Network, Settings, loss_of, network, signal
from carousel.report import Level, level

__all__ = [
    "SEEDS",
    "STEPS",
    "LessonClipping",
    "LessonConstant",
    "LessonDoubling",
    "LessonPresets",
    "LessonReach",
    "LessonReached",
    "LessonShare",
    "LessonStep",
    "LessonTerm",
    "clipping",
    "constant",
    "doubling",
    "one_step",
    "reach",
    "settings_of_figures",
]

STEPS = 200
SEEDS = (0, 1, 2)
LEFT = 1e-3  # of the gradient: where less is left, the lesson says that it does not reach
LAGS = (1, 10, 50, 100)
LIKE_TORCH = Network("lstm")
BIAS_1, BIAS_3 = Network(forget_bias=1.0), Network(forget_bias=3.0)
PLAIN = Network("rnn-tanh")
LARGE = Network("rnn-tanh", gain=3.0)
SHORT_STEPS = 40  # of the figure that tells total and injected apart


@dataclass(frozen=True)
class LessonPresets:
    """What the prose sets the figures to; the explorer opens with the same."""

    plain: Settings  # a tanh RNN as it is drawn, beside one with an orthogonal W_hh
    large: Settings  # beside one with larger weights
    copying: Settings  # beside a relu RNN that starts as a copy of its state
    torch: Settings  # a tanh RNN beside an LSTM, both as PyTorch draws them
    bias_1: Settings
    bias_3: Settings
    bias_5: Settings
    chrono: Settings
    original: Settings  # the LSTM of 1997
    gru: Settings


def settings_of_figures() -> LessonPresets:
    """All that the figures of the lesson can be set to."""
    beside = Settings(first=PLAIN, second=LIKE_TORCH, steps=STEPS)
    simple = replace(beside, steps=STEPS // 2)
    return LessonPresets(
        plain=replace(simple, second=replace(PLAIN, init="orthogonal")),
        large=replace(simple, second=LARGE),
        copying=replace(simple, second=Network("rnn-relu", init="identity"), seed=1),
        torch=beside,
        bias_1=replace(beside, second=BIAS_1),
        bias_3=replace(beside, second=BIAS_3),
        bias_5=replace(beside, second=replace(BIAS_3, forget_bias=5.0)),
        chrono=replace(beside, second=Network(init="chrono")),
        original=replace(beside, second=Network("lstm-1997")),
        gru=replace(beside, second=Network("gru")),
    )


def measured(
    one: Network, seed: int, steps: int = STEPS
) -> tuple[LayerFlow, RNN | LSTM | GRU, Tensor]:
    """The flow of one network of the explorer, with its layer and its input."""
    layer = network(one, steps, seed)
    x = signal(Settings(steps=steps, seed=seed))
    return measure(layer, lambda: loss_of(layer(x)[0], "last"))["l0"], layer, x


@dataclass(frozen=True)
class LessonReached:
    """How far back ||dL/dc_t|| came, or ||dL/dh_t|| where there is no c, over the seeds.

    All of it beside the same norm at the step of the loss.
    """

    reach_steps: float  # steps back until less than ``LEFT`` was left, the median over the seeds
    least_steps: float
    most_steps: float
    everywhere: bool  # with every seed that much was left at the first step too
    rate: float  # of the product of Jacobians, per step, natural logarithm; the median
    each_step: float  # exp(rate): what the product keeps from one step to the next
    horizon_steps: float | None  # -1 / rate; None unless it decays with every seed


@dataclass(frozen=True)
class LessonReach:
    """The networks of the lesson, freshly drawn and not trained."""

    rnn: LessonReached
    rnn_orthogonal: LessonReached
    lstm: LessonReached  # as PyTorch draws it
    lstm_bias_1: LessonReached
    lstm_bias_3: LessonReached
    lstm_chrono: LessonReached  # for a lag of all steps
    gru: LessonReached


def reach(proceed: Callable[[], None]) -> LessonReach:
    """Measure all of them."""

    def of(one: Network) -> LessonReached:
        proceed()
        return reached(one)

    return LessonReach(
        rnn=of(PLAIN),
        rnn_orthogonal=of(replace(PLAIN, init="orthogonal")),
        lstm=of(LIKE_TORCH),
        lstm_bias_1=of(BIAS_1),
        lstm_bias_3=of(BIAS_3),
        lstm_chrono=of(Network(init="chrono")),
        gru=of(Network("gru")),
    )


@cache  # two who ask at once share what either has measured
def reached(one: Network) -> LessonReached:
    """One kind, with every seed."""
    steps: list[int] = []
    rates: list[float] = []
    kinds: set[str] = set()
    for seed in SEEDS:
        flow, _, _ = measured(one, seed)
        log10 = flow.log10_norm("d_h" if flow.d_c is None else "d_c")[:, 0].flip(0)
        below = (log10 - log10[0] < torch.tensor(LEFT).log10()).nonzero().flatten().tolist()
        steps.append(below[0] if below else STEPS)
        horizon = flow.horizon()
        rates.append(horizon.rate)
        kinds.add(horizon.kind)
    rate = statistics.median(rates)
    return LessonReached(
        reach_steps=statistics.median(steps),
        least_steps=min(steps),
        most_steps=max(steps),
        everywhere=min(steps) == STEPS,
        rate=rate,
        each_step=math.exp(rate),
        horizon_steps=-1 / rate if kinds == {"decaying"} else None,
    )


@dataclass(frozen=True)
class LessonTerm:
    """One term of dc_t/dc_{t-1}: its largest singular value, in three networks."""

    name: str  # "direct", the gate through which it leads, or "total"
    torch: float  # the LSTM as PyTorch draws it
    bias_1: float
    bias_3: float


@dataclass(frozen=True)
class LessonShare:
    """log10 of ||dL/dc_{T-lag}|| / ||dL/dc_T||, medians over the seeds: what the figure draws."""

    lag: int
    carousel: Level  # of the part that came along the carousel alone
    full: Level


@dataclass(frozen=True)
class LessonStep:
    """The derivative of the cell state, taken apart."""

    step: int
    seed: int
    terms: tuple[LessonTerm, ...]
    smallest_forget: float  # of the gates at that step, with a bias of 3
    largest_forget: float
    shares: tuple[LessonShare, ...]  # with a bias of 3, by the steps back
    lag: int  # the last of these
    gain: Level  # log10 of the full one over the part along the carousel there
    rnn_left: Level  # log10 of ||dL/dh_0|| / ||dL/dh_T|| of the tanh RNN, T the last step
    torch_left: Level  # the same of dL/dc, of the LSTM as PyTorch draws it
    torch_gain: Level  # log10 of the second over the first
    entered: float  # ||dL/dc_T|| beside ||dL/dh_T||, T the last step: the way in, gone once


def one_step() -> LessonStep:
    """Measured with the first seed, in the middle of the sequence; the shares with all seeds."""
    step, seed = STEPS // 2, SEEDS[0]
    found = []
    for one in (LIKE_TORCH, BIAS_1, BIAS_3):
        flow, _, _ = measured(one, seed)
        terms = flow.step_terms(step)
        found.append({**terms.terms, "total": terms.total})
    sizes = [
        {name: float(torch.linalg.matrix_norm(term[0].double(), 2)) for name, term in one.items()}
        for one in found
    ]
    # Of the last of them, with a bias of 3:
    f = flow.gates["f"][step, 0]
    last = flow.log10_norm("d_c")[-1, 0] - flow.log10_norm("d_h")[-1, 0]
    alone, full = _shares()
    by_lag = tuple(
        LessonShare(*one) for one in zip(LAGS, map(level, alone), map(level, full), strict=True)
    )
    rnn_left = _fall(measured(PLAIN, seed)[0].log10_norm("d_h"))[-1]
    torch_left = _fall(measured(LIKE_TORCH, seed)[0].log10_norm("d_c"))[-1]
    return LessonStep(
        step=step,
        seed=seed,
        terms=tuple(LessonTerm(name, *(one[name] for one in sizes)) for name in sizes[0]),
        smallest_forget=float(f.min()),
        largest_forget=float(f.max()),
        shares=by_lag,
        lag=by_lag[-1].lag,
        gain=level(full[-1] - alone[-1]),
        rnn_left=level(rnn_left),
        torch_left=level(torch_left),
        torch_gain=level(torch_left - rnn_left),
        entered=float(10**last),
    )


def _shares() -> tuple[list[float], list[float]]:
    """By lag, with a bias of 3: along the carousel alone, and in all."""
    alone, full = [], []
    for seed in SEEDS:
        flow, _, _ = measured(BIAS_3, seed)
        one = carousel_alone(flow)
        assert one is not None
        alone.append(_fall(one))
        full.append(_fall(flow.log10_norm("d_c")))
    return [_medians(alone, lag) for lag in LAGS], [_medians(full, lag) for lag in LAGS]


def _fall(log10: Tensor) -> list[float]:
    """log10 of a norm by lag, beside what it is at the last step, where the loss is."""
    back = log10[:, 0].flip(0)
    found: list[float] = (back - back[0]).tolist()
    return found


def _medians(by_seed: list[list[float]], lag: int) -> float:
    return statistics.median(one[lag] for one in by_seed)


@dataclass(frozen=True)
class LessonConstant:
    """The cell of 1997, which has no forget gate."""

    smallest: float  # of dL/dc_t over all units and steps, along the carousel alone
    largest: float
    full: Level  # log10 of the norm of the full gradient at the first step, beside the last
    size: float  # the largest |c| at the last step
    size_forget: float  # the same where there is a forget gate, with a bias of 1


def constant() -> LessonConstant:
    """With the first seed; the loss is the sum of the last c."""
    seed = SEEDS[0]
    _, layer, x = measured(Network("lstm-1997"), seed)
    cut = LSTM(INPUT_SIZE, layer.hidden_size, variant="1997", gradient="1997")
    cut.load_state_dict(layer.state_dict())
    alone = measure(cut, lambda: torch.sum(cut(x)[1][1]))["l0"]
    full = measure(layer, lambda: torch.sum(layer(x)[1][1]))["l0"]
    kept, _, _ = measured(BIAS_1, seed)
    assert alone.d_c is not None
    assert full.c is not None
    assert kept.c is not None
    log10 = full.log10_norm("d_c")[:, 0]
    return LessonConstant(
        smallest=float(alone.d_c.min()),
        largest=float(alone.d_c.max()),
        full=level(float(log10[0] - log10[-1])),
        size=float(full.c[-1].abs().max()),
        size_forget=float(kept.c[-1].abs().max()),
    )


@dataclass(frozen=True)
class LessonDoubling:
    """Total and injected gradient: of x_t = 2 x_{t-1}, and of a tanh RNN; losses at the end."""

    total: tuple[float, ...]
    injected: tuple[float, ...]
    steps: int
    real_total: tuple[Level, ...]
    real_injected: tuple[Level, ...]
    smallest_log10: float


def doubling() -> LessonDoubling:
    """Measured, both of them."""
    double = RNN(1, 1, nonlinearity="relu", bias=False)
    with torch.no_grad():
        double.get_parameter("weight_hh_l0").fill_(2.0)
        double.get_parameter("weight_ih_l0").zero_()
    x, start = torch.zeros(3, 1, 1), torch.ones(1, 1, 1)
    flow = measure(double, lambda: torch.sum(double(x, start)[0][-1]))["l0"]
    real, _, _ = measured(PLAIN, SEEDS[0], SHORT_STEPS)
    return LessonDoubling(
        total=tuple(flow.d_h.flatten().tolist()),
        injected=tuple(flow.d_h_injected.flatten().tolist()),
        steps=SHORT_STEPS,
        real_total=levels(real.log10_norm("d_h")),
        real_injected=levels(real.log10_norm("d_h_injected")),
        smallest_log10=float(torch.tensor(torch.finfo(torch.float32).tiny).double().log10()),
    )


@dataclass(frozen=True)
class LessonClipping:
    """A gradient that explodes, before and after it is clipped; and one that vanishes."""

    gain: float  # what W_hh of the first was multiplied by
    steps: int
    growth: Level  # log10 of ||dL/dh_0|| beside ||dL/dh_T||, T the last step
    norm: float  # of the gradient of all weights, before clipping
    limit: float  # that it is clipped to
    factor: float  # that clipping multiplies it by
    vanished: Level  # log10 of ||dL/dh_0|| beside ||dL/dh_T|| of the one that vanishes
    vanished_norm: float  # of its weights
    vanished_factor: float  # that clipping multiplies it by
    window_steps: int  # of the one that vanishes: the last steps that make 90 % of its gradient


def clipping(limit: float = 1.0) -> LessonClipping:
    """With the first seed."""
    steps, seed = STEPS // 2, SEEDS[0]

    def of(one: Network) -> tuple[LayerFlow, Level, float, float]:
        flow, layer, x = measured(one, seed, steps)
        log10 = flow.log10_norm("d_h")[:, 0]
        loss_of(layer(x)[0], "last").backward()
        before = float(torch.nn.utils.clip_grad_norm_(layer.parameters(), limit))
        grads = [p.grad for p in layer.parameters() if p.grad is not None]
        after = float(torch.nn.utils.get_total_norm(grads))
        return flow, level(float(log10[0] - log10[-1])), before, after / before

    _, growth, norm, factor = of(LARGE)
    flow, vanished, vanished_norm, vanished_factor = of(PLAIN)
    return LessonClipping(
        gain=LARGE.gain,
        steps=steps,
        growth=growth,
        norm=norm,
        limit=limit,
        factor=factor,
        vanished=vanished,
        vanished_norm=vanished_norm,
        vanished_factor=vanished_factor,
        window_steps=flow.truncation_length(0.1),
    )
