"""Initialisations of a bias that were applied to both biases, b_ih and b_hh, which add up.

    forget bias 1 in both:  b_f = 2,  f = 0.881 instead of 0.731
    chrono in both:         b_f = ln u + ln u',  a horizon of about u * u' instead of u

Both biases receive the same gradient, so a trained module still shows a forget bias that was set
twice as long as training has not spread it over the units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._gates import keeping_of, rows_of
from carousel.diagnosis._numbers import number
from carousel.diagnosis._subject import Subject
from carousel.theory import forget_gate

__all__ = ["double_chrono", "double_forget_bias"]

EQUAL = 1e-3  # relative: the spread of a constant, and the difference of the two biases
LEAST_BIAS = 0.1  # smaller constants change a gate by less than 3 %
BELOW_ZERO = -0.01  # chrono draws ln u with u from 1 on
LEAST_LARGEST = 1.0  # of ln u: torch's own draws stay below 1 / sqrt(H)
LEAST_SPREAD = 0.1
LEAST_UNITS = 4  # of fewer, chance makes anything
# Two halves of one chrono, ln u / 2 in each bias, are equal and add up to the right sum. Then
# exp(b) is the root of a uniform number, whose mean is 2/3 of its largest; of ln u itself it is
# 1/2. With a lag the sum itself tells: chrono for that lag stays below ln(lag), twice that is far
# above.
HALVES = 0.6
FACTOR = math.e  # above the lag
SOURCE_BIAS = "pytorch#20102: only b_ih + b_hh acts, and the papers' forget bias is the sum"
SOURCE_CHRONO = "Tallec & Ollivier 2018, eq. 16, is about the sum of both biases"


def double_forget_bias(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer whose two forget biases are one constant, twice."""
    for name, one, other in _both(subject):
        mean = float((one.mean() + other.mean()) / 2)
        if abs(mean) < LEAST_BIAS:
            continue
        spread = max(float((bias - mean).abs().max()) for bias in (one, other))
        if spread > EQUAL * abs(mean):
            continue
        if subject.lag_steps is not None and _suits(2 * mean, subject.lag_steps):
            continue  # two halves of what the lag takes
        once, twice = forget_gate(mean), forget_gate(2 * mean)
        yield Finding(
            rule="double-forget-bias",
            severity="warning",
            layer=name,
            sentence=(
                f"The forget bias {mean:.3g} stands in both b_ih and b_hh, which add up: the gate "
                f"sees {2 * mean:.3g} and stands at {twice.f:.3f}, a horizon of "
                f"{number(twice.horizon_steps)} steps, where {mean:.3g} in all would give "
                f"{once.f:.3f} and {number(once.horizon_steps)} steps."
            ),
            evidence={
                "bias_each": mean,
                "bias_total": 2 * mean,
                "horizon_steps": twice.horizon_steps,
                "horizon_if_once_steps": once.horizon_steps,
            },
            threshold=EQUAL,
            source=SOURCE_BIAS,
        )


def _suits(bias: float, lag: int) -> bool:
    """Whether a forget bias in total is the one that gives a horizon of the lag: ln(lag - 1)."""
    return lag > 2 and abs(bias - math.log(lag - 1)) <= LEAST_BIAS


def double_chrono(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer whose two biases both look drawn by chrono initialisation."""
    for name, one, other in _both(subject):
        if len(one) < LEAST_UNITS or not (_chrono(one) and _chrono(other)):
            continue
        if _two_halves(one, other, subject.lag_steps):
            continue
        both = one + other
        wanted, given = float(one.max().exp()), float(both.max().exp())
        yield Finding(
            rule="double-chrono",
            severity="warning",
            layer=name,
            sentence=(
                f"Both b_ih and b_hh hold chrono biases, which add up: the slowest unit has a "
                f"horizon of about {number(given)} steps along the carousel, where one of them "
                f"would give {number(wanted)}. Set one of the two to zero."
            ),
            evidence={
                "horizon_steps": given,
                "horizon_if_once_steps": wanted,
                "bias_total_largest": float(both.max()),
            },
            threshold=LEAST_LARGEST,
            source=SOURCE_CHRONO,
        )


def _chrono(bias: Tensor) -> bool:
    """Whether a bias [H] looks like ln u with u uniform from 1 on."""
    if float(bias.min()) < BELOW_ZERO or float(bias.max()) < LEAST_LARGEST:
        return False
    return float(bias.max() - bias.min()) >= LEAST_SPREAD


def _two_halves(one: Tensor, other: Tensor, lag: int | None) -> bool:
    """Whether two such biases may be the halves of one, on purpose."""
    if float((one - other).abs().max()) > EQUAL * float(one.max()):
        return False  # drawn twice
    if lag is not None:
        return float((one + other).max()) <= math.log(FACTOR * lag)
    return float((one - one.max()).exp().mean()) >= HALVES


def _both(subject: Subject) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The two biases of each keeping gate, with the sign with which they keep, [H] float64."""
    for layer in subject.derived:
        weights, keeping = layer.trace.weights, keeping_of(layer)
        if keeping is None or weights.b_ih is None or weights.b_hh is None:
            continue
        one, other = (
            keeping.sign * rows_of(layer, bias, keeping.gate).double().cpu()
            for bias in (weights.b_ih, weights.b_hh)
        )
        if bool(one.isfinite().all()) and bool(other.isfinite().all()):
            yield layer.name, one, other
