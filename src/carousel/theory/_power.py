"""The same factor at every step: m^n, and how many steps it takes to get somewhere."""

from __future__ import annotations

import math
from fractions import Fraction

from carousel._errors import CarouselError
from carousel.theory._checks import finite, whole_steps

__all__ = ["log10_power", "steps_until"]

EXACT_STEPS = 10_000  # up to here a power is compared as a fraction, without rounding


def log10_power(factor: float, steps: int) -> float:
    """log10 |m^n|: 0.5^20 is 9.5e-7, 1^20 is 1, 2^20 is 1 048 576, and 0.5^2000 is a number too.

    Args:
        factor: m, what one step multiplies a gradient by.
        steps: n, 0 or more.

    Returns:
        The logarithm; -inf for an exact zero.

    >>> round(log10_power(0.5, 2000), 2)
    -602.06
    """
    m = abs(finite("factor", factor, "what one step multiplies a gradient by"))
    if whole_steps("steps", steps) == 0:
        return 0.0
    return -math.inf if m == 0 else steps * math.log10(m)


def steps_until(factor: float, target: float) -> int:
    """The fewest steps n after which m^n has come to the target, or gone beyond it.

    A gradient that keeps 0.9 of itself at each step is below a tenth after 22. The comparison is
    exact up to 10 000 steps, and beyond that as good as a logarithm in float64.

    Args:
        factor: m > 0, other than 1.
        target: at most 1 for m < 1, at least 1 for m > 1.

    Raises:
        CarouselError: the powers of m never come to the target.

    >>> steps_until(0.9, 0.1), steps_until(0.5, 0.5**20), steps_until(2.0, 1e6)
    (22, 20, 20)
    """
    m = finite("factor", factor, "what one step multiplies a gradient by", above=0.0)
    goal = finite("target", target, "what the product shall come to", above=0.0)
    if goal == 1:
        return 0
    if m == 1 or (m < 1) != (goal < 1):
        course = "stays at 1" if m == 1 else "falls from 1" if m < 1 else "grows from 1"
        raise CarouselError(
            f"The product {m:g}^n {course} and never comes to {goal:g}. Expected a target "
            "below 1 for a factor below 1, and above 1 for a factor above 1."
        )
    steps = max(1, math.ceil(math.log(goal) / math.log(m)))
    if steps > EXACT_STEPS:
        return steps
    while steps > 1 and _there(m, goal, steps - 1):
        steps -= 1
    while not _there(m, goal, steps):
        steps += 1
    return steps


def _there(m: float, goal: float, steps: int) -> bool:
    power = Fraction(m) ** steps
    return power <= Fraction(goal) if m < 1 else power >= Fraction(goal)
