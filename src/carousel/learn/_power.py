"""The first thing to play with: one multiplier at every step, and what is left of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Annotated, Literal

from carousel.learn._request import Range
from carousel.report import Level, level
from carousel.theory import log10_power, steps_until

__all__ = ["Power", "PowerRequest", "Regime", "power"]

Regime = Literal["vanishes", "carried", "explodes"]

SMALL, LARGE = 1e-3, 1e3  # beyond these it counts as gone, or as too much
DIGITS = 12  # of a number that is not written out
LONGEST_EXACT = 48  # characters that are written out


@dataclass(frozen=True)
class PowerRequest:
    """m^n: what n steps leave, each multiplying by m."""

    factor: Annotated[float, Range(0.1, 2, 0.01)] = 0.5
    steps: Annotated[int, Range(1, 200)] = 20


@dataclass(frozen=True)
class Power:
    """The powers of m from 0 to n steps."""

    log10: tuple[Level, ...]  # of m^0 .. m^n
    exact: str | None  # m^n in all its decimals, where these are few
    scientific: str  # "9.53674316406e-7"
    regime: Regime
    bound: float  # 0.001 or 1000, where the regime is called; 1 where m = 1
    passes: int | None  # after how many steps m^k is there, also beyond n; None for m = 1


def power(request: PowerRequest, proceed: Callable[[], None] = lambda: None) -> Power:
    """Raise the multiplier, as the decimal number that it was typed as."""
    proceed()
    m, n = request.factor, request.steps
    wide = Context(prec=20 * n + 40)
    value = wide.power(Decimal(repr(m)), n).normalize(wide)
    written = f"{value:f}"
    regime: Regime = "carried" if m == 1 else "vanishes" if m < 1 else "explodes"
    bound = {"carried": 1.0, "vanishes": SMALL, "explodes": LARGE}[regime]
    return Power(
        log10=tuple(level(log10_power(m, k)) for k in range(n + 1)),
        exact=written if len(written) <= LONGEST_EXACT else None,
        scientific=_scientific(value),
        regime=regime,
        bound=bound,
        passes=None if m == 1 else _passes(m, bound),
    )


def _passes(m: float, bound: float) -> int:
    """``steps_until`` of the decimal: 0.1^3 is 0.001, which the float 0.1 to the third is not."""
    steps, typed = steps_until(m, bound), Fraction(repr(m))
    there = typed ** (steps - 1)
    sooner = there <= Fraction(repr(bound)) if m < 1 else there >= Fraction(repr(bound))
    return steps - 1 if sooner else steps


def _scientific(value: Decimal) -> str:
    digits, exponent = f"{value:.{DIGITS - 1}e}".split("e")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits}e{int(exponent)}"
