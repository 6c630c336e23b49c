"""The nonlinearities of a simple RNN, each with its slope in logarithms, exact at any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from carousel._errors import CarouselError

__all__ = ["NONLINEARITIES", "Nonlinearity", "nonlinearity_named"]


@dataclass(frozen=True)
class Nonlinearity:
    """One function s of a real number a, and what is known of its slope s'(a) >= 0."""

    value: Callable[[float], float]  # s(a)
    log_slope: Callable[[float], float]  # ln s'(a); -inf where the slope is zero
    log_slope_falls: Callable[[float], float] | None  # -d/da ln s'(a); None where s' is constant
    largest_slope: float  # gamma: max of s'


def sigmoid(a: float) -> float:
    """1 / (1 + e^-a), without overflow."""
    if a >= 0:
        return 1 / (1 + math.exp(-a))
    return math.exp(a) / (1 + math.exp(a))


def _log_slope_of_sigmoid(a: float) -> float:
    """ln sigma'(a) = ln sigma(a) + ln sigma(-a) = -|a| - 2 ln(1 + e^-|a|)."""
    return -abs(a) - 2 * math.log1p(math.exp(-abs(a)))


def _log_slope_of_tanh(a: float) -> float:
    """ln tanh'(a) = -2 ln cosh a = 2 (ln 2 - |a| - ln(1 + e^-2|a|))."""
    return 2 * (math.log(2) - abs(a) - math.log1p(math.exp(-2 * abs(a))))


NONLINEARITIES: dict[str, Nonlinearity] = {
    # sigma'' = sigma' (1 - 2 sigma), and 2 sigma(a) - 1 = tanh(a / 2)
    "sigmoid": Nonlinearity(sigmoid, _log_slope_of_sigmoid, lambda a: math.tanh(a / 2), 0.25),
    # tanh'' = -2 tanh tanh'
    "tanh": Nonlinearity(math.tanh, _log_slope_of_tanh, lambda a: 2 * math.tanh(a), 1.0),
    "relu": Nonlinearity(lambda a: max(a, 0.0), lambda a: 0.0 if a > 0 else -math.inf, None, 1.0),
    "identity": Nonlinearity(lambda a: a, lambda _: 0.0, None, 1.0),
}


def nonlinearity_named(name: str) -> Nonlinearity:
    """Look up a nonlinearity.

    Raises:
        CarouselError: there is none of that name; the message lists the names.
    """
    found = NONLINEARITIES.get(name)
    if found is None:
        known = ", ".join(NONLINEARITIES)
        raise CarouselError(f"There is no nonlinearity {name!r}. Expected one of: {known}.")
    return found
