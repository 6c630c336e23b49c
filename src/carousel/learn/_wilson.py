"""Shares of right answers, with the interval that their number allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Share", "share"]

Z = 1.959964  # the normal distribution at 97.5 %


@dataclass(frozen=True)
class Share:
    """hits / count with its 95 % interval."""

    hits: int
    count: int
    value: float
    low: float
    high: float


def share(hits: int, count: int) -> Share:
    """Wilson's score interval (Wilson 1927), which is right near 0 and 1 too; of one or more."""
    assert count > 0
    p = hits / count
    centre = (p + Z**2 / (2 * count)) / (1 + Z**2 / count)
    margin = Z / (1 + Z**2 / count) * math.sqrt(p * (1 - p) / count + Z**2 / (4 * count**2))
    # Without a hit, or without a miss, an end is the share itself, which rounding would pass by.
    low = 0.0 if hits == 0 else centre - margin
    high = 1.0 if hits == count else centre + margin
    return Share(hits, count, p, low, high)
