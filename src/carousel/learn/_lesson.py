"""The numbers that the lesson's prose quotes: closed forms, and what real networks gave.

The page writes none of them down itself, so that what it says cannot grow stale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from carousel import theory
from carousel.learn._lesson_networks import (
    SEEDS,
    STEPS,
    LessonClipping,
    LessonConstant,
    LessonDoubling,
    LessonPresets,
    LessonReach,
    LessonStep,
    clipping,
    constant,
    doubling,
    one_step,
    reach,
    settings_of_figures,
)
from carousel.learn._settings import INPUT_SIZE, Network
from carousel.report import Level, level

__all__ = ["Lesson", "LessonRequest", "lesson"]

FACTORS = (0.5, 1.0, 2.0)
POWER_STEPS = 20
GATE_STEPS = 50
KEPT: list[Lesson] = []  # what this process has measured


@dataclass(frozen=True)
class LessonRequest:
    """Nothing: the lesson always quotes the same networks."""


@dataclass(frozen=True)
class LessonPower:
    """The same factor at every step."""

    factor: float
    after: Level  # log10 of what is left after ``LessonPowers.steps``
    exact: float  # that itself


@dataclass(frozen=True)
class LessonPowers:
    """What is left of 1."""

    steps: int
    below: LessonPower  # 0.5
    one: LessonPower
    above: LessonPower  # 2
    lost_steps: int  # until the smaller is below the smallest normal number of float32
    overflow_steps: int  # until the larger is beyond its largest


@dataclass(frozen=True)
class LessonSlopes:
    """What squashing functions add to the product, in one unit."""

    sigmoid: float  # the largest slope
    tanh: float
    state: float  # at which the factors below are held
    weight: float  # that lets most through a sigmoid unit
    factor: float  # that much
    after: Level  # log10, after ``LessonPowers.steps``
    tanh_weight: float
    tanh_factor: float
    must_vanish_below: float  # |w| of a sigmoid unit
    large_weight: float  # of a unit without and with tanh
    linear_after: Level  # log10 |dh_n/dh_0| without
    squashed_after: Level  # with, from a start at ``start``
    start: float
    rests_at: float  # where that unit comes to rest


@dataclass(frozen=True)
class LessonGate:
    """A forget gate that stands still."""

    bias: float
    f: float
    slope: float  # f (1 - f), the derivative of the sigmoid there
    horizon_steps: float
    half_life_steps: float
    after: Level  # log10 f^n, n = ``LessonGates.steps``


@dataclass(frozen=True)
class LessonGates:
    """Forget gates by their bias."""

    steps: int
    torch: LessonGate
    unit: LessonGate  # a bias of 1
    three: LessonGate
    five: LessonGate
    nine: LessonGate  # f = 0.9
    ten: LessonGate
    chrono_10: LessonGate
    chrono_100: LessonGate
    chrono_1000: LessonGate
    bias_for_100: float  # that gives a horizon of 100 steps
    biases: tuple[float, ...]
    horizons: tuple[Level, ...]  # log10 steps


@dataclass(frozen=True)
class Lesson:
    """All numbers of the lesson."""

    hidden: int
    inputs: int
    steps: int
    seeds: int
    powers: LessonPowers
    slopes: LessonSlopes
    gates: LessonGates
    reach: LessonReach
    one_step: LessonStep
    constant: LessonConstant
    doubling: LessonDoubling
    clipping: LessonClipping
    presets: LessonPresets


def lesson(_: LessonRequest, proceed: Callable[[], None] = lambda: None) -> Lesson:
    """Compute and measure them all, once for each process."""
    if not KEPT:
        KEPT.append(computed(proceed))  # nothing is kept where ``proceed`` raised
    return KEPT[0]


def computed(proceed: Callable[[], None]) -> Lesson:
    """Compute and measure them all."""
    return Lesson(
        hidden=Network().hidden,
        inputs=INPUT_SIZE,
        steps=STEPS,
        seeds=len(SEEDS),
        powers=powers(),
        slopes=slopes(),
        gates=gates(),
        reach=reach(proceed),
        one_step=one_step(),
        constant=constant(),
        doubling=doubling(),
        clipping=clipping(),
        presets=settings_of_figures(),
    )


def powers() -> LessonPowers:
    """Closed forms."""
    float32 = torch.finfo(torch.float32)
    below, one, above = (power(m) for m in FACTORS)
    return LessonPowers(
        steps=POWER_STEPS,
        below=below,
        one=one,
        above=above,
        # Half of it, for the smallest normal number itself is one that there is.
        lost_steps=theory.steps_until(below.factor, float32.tiny / 2),
        overflow_steps=theory.steps_until(above.factor, float32.max),
    )


def power(m: float) -> LessonPower:
    """One of them."""
    return LessonPower(m, level(theory.log10_power(m, POWER_STEPS)), m**POWER_STEPS)


def slopes() -> LessonSlopes:
    """Closed forms, and one unit iterated."""
    best, tanh = theory.largest_factor("sigmoid"), theory.largest_factor("tanh")
    gamma = theory.vanishes(1.0, "sigmoid").largest_slope
    large, start = FACTORS[-1], 0.5
    squashed = theory.scalar_product(large, POWER_STEPS, "tanh", initial=start)
    return LessonSlopes(
        sigmoid=gamma,
        tanh=theory.vanishes(1.0, "tanh").largest_slope,
        state=best.state,
        weight=best.weight,
        factor=best.factor,
        after=level(theory.log10_power(best.factor, POWER_STEPS)),
        tanh_weight=tanh.weight,
        tanh_factor=tanh.factor,
        must_vanish_below=1 / gamma,
        large_weight=large,
        linear_after=level(theory.log10_power(large, POWER_STEPS)),
        squashed_after=level(float(squashed.log10_from_start[-1])),
        start=start,
        rests_at=float(squashed.states[-1]),
    )


def gates() -> LessonGates:
    """Closed forms."""
    biases = tuple(float(b) for b in np.linspace(-2, 8, 51).round(1))
    return LessonGates(
        steps=GATE_STEPS,
        torch=gate_at(0.0),
        unit=gate_at(1.0),
        three=gate_at(3.0),
        five=gate_at(5.0),
        nine=gate_at(math.log(0.9 / 0.1)),
        ten=gate_at(10.0),
        chrono_10=gate_at(theory.chrono_bias(10)),
        chrono_100=gate_at(theory.chrono_bias(100)),
        chrono_1000=gate_at(theory.chrono_bias(1000)),
        bias_for_100=theory.bias_for_horizon(100),
        biases=biases,
        horizons=tuple(level(math.log10(theory.forget_gate(b).horizon_steps)) for b in biases),
    )


def gate_at(bias: float) -> LessonGate:
    """One of them."""
    gate = theory.forget_gate(bias)
    return LessonGate(
        bias=bias,
        f=gate.f,
        slope=gate.f * (1 - gate.f),
        horizon_steps=gate.horizon_steps,
        half_life_steps=gate.half_life_steps,
        after=level(gate.log10_after(GATE_STEPS)),
    )
