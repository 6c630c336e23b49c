"""Shares and areas with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "area", "check", "difference", "share"]

RESAMPLES = 2000
Z = 1.959964  # the normal distribution at 97.5 %


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval, and how many it rests on."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def share(hits: int, count: int) -> Interval:
    """hits / count with Wilson's score interval (Wilson 1927); NaN of nothing."""
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    p = hits / count
    centre = (p + Z**2 / (2 * count)) / (1 + Z**2 / count)
    margin = Z / (1 + Z**2 / count) * math.sqrt(p * (1 - p) / count + Z**2 / (4 * count**2))
    return Interval(p, max(0.0, centre - margin), min(1.0, centre + margin), count)


def area(scores: Sequence[float], positive: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """The area under the ROC curve: how often a positive one scores above a negative one.

    Ties count half. The interval is the bootstrap's, percentiles of RESAMPLES draws of whole
    groups, for what belongs to one group (seeds of one setting) is not independent.

    Args:
        scores: the higher, the more surely positive.
        positive: what came true.
        groups: which ones belong together.
    """
    values, truth = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    return bootstrap(lambda chosen: rank_area(values[chosen], truth[chosen]), groups)


def difference(
    one: Sequence[float],
    other: Sequence[float],
    positive: Sequence[bool],
    groups: Sequence[Hashable],
) -> Interval:
    """The area of one score less that of another, on the same cases and the same draws."""
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    truth = np.asarray(positive, dtype=bool)
    return bootstrap(
        lambda chosen: (
            rank_area(first[chosen], truth[chosen]) - rank_area(second[chosen], truth[chosen])
        ),
        groups,
    )


def bootstrap(statistic: Callable[[np.ndarray], float], groups: Sequence[Hashable]) -> Interval:
    """A statistic of all cases, and its percentiles over draws of whole groups."""
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    parts = [np.asarray(indices) for indices in members.values()]
    found = statistic(np.arange(len(groups)))
    draws = np.random.default_rng(0)
    drawn = [
        statistic(np.concatenate([parts[k] for k in draws.integers(0, len(parts), len(parts))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if not math.isnan(found) else (found, found)
    return Interval(found, float(low), float(high), len(groups))


def rank_area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The Mann-Whitney statistic as a share of all pairs; NaN where all are alike."""
    above, below = scores[positive], scores[~positive]
    if len(above) == 0 or len(below) == 0:
        return math.nan
    ordered = np.sort(below)
    less = np.searchsorted(ordered, above, side="left")
    less_or_equal = np.searchsorted(ordered, above, side="right")
    return float((less + less_or_equal).sum() / (2 * len(above) * len(below)))


def check() -> None:
    """Known answers; a bench whose statistics are wrong does not start."""
    wilson = share(8, 10)
    assert abs(wilson.low - 0.4902) < 1e-3, wilson
    assert abs(wilson.high - 0.9433) < 1e-3, wilson
    assert rank_area(np.array([1.0, 2, 3, 4]), np.array([False, False, True, True])) == 1.0
    assert rank_area(np.array([1.0, 1, 2, 0]), np.array([True, False, True, False])) == 0.875
    assert rank_area(np.array([-math.inf, 0.0]), np.array([True, False])) == 0.0
