"""Numbers as sentences write them."""

from __future__ import annotations

import math

__all__ = ["LN10", "counted", "number", "power", "share"]

LN10 = math.log(10)
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Three digits that matter, plain up to a million."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def power(log10: float) -> str:
    """A positive number by its log10: 0.031, or 10⁻²⁹ where it is far from 1."""
    if log10 == -math.inf:
        return "exactly nothing"
    if -3 <= log10 < 4:
        return f"{10**log10:.2g}"
    return f"10{f'{log10:.0f}'.translate(SUPERSCRIPTS)}"


def share(part: float) -> str:
    """A share as per cent; what is not all is never written as 100 %."""
    if part == 1.0:
        return "all"
    return f"{min(99.9, 100 * part):.3g} %" if part > 0.99 else f"{100 * part:.0f} %"


def counted(count: int, thing: str) -> str:
    """1 step, 2 steps."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
