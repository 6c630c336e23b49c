"""Times of several ways to do one thing, in one process, round by round.

A round runs every way once; the order turns round after round (A B, B A, A B, ..), so that what
drifts (clock rates, neighbours on the machine) meets all of them alike. What is reported is the
median of the ratios within the rounds, never a ratio of two runs that lie apart.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Ratio", "Timing", "interleaved"]

FEWEST_ROUNDS, MOST_ROUNDS = 3, 200
LONG_ROUND_S = 5.0  # two rounds are enough where one takes so long: there is less to average out
RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """A median over the rounds with its bootstrap interval of 95 %.

    With two or three rounds the interval is their smallest and largest.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Seconds of every way in every round, in the order of the rounds."""

    seconds: dict[str, list[float]]

    @property
    def rounds(self) -> int:
        """How many rounds were timed."""
        return len(next(iter(self.seconds.values())))

    def median(self, way: str) -> float:
        """Median seconds of one way."""
        return statistics.median(self.seconds[way])

    def ratio(self, over: str, under: str) -> Ratio:
        """Seconds of ``over`` divided by those of ``under``, paired within the rounds."""
        ratios = np.array(self.seconds[over]) / np.array(self.seconds[under])
        drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
        low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
        return Ratio(float(np.median(ratios)), float(low), float(high))


def interleaved(
    ways: dict[str, Callable[[], object]],
    budget_s: float,
    *,
    warmups: int = 1,
    fewest: int = FEWEST_ROUNDS,
    most: int = MOST_ROUNDS,
) -> Timing:
    """Time all ways in turn until the budget is spent, for at least ``fewest`` rounds.

    Args:
        ways: functions by name; what they return is dropped at once.
        budget_s: seconds for the timed rounds of all ways together.
        warmups: rounds before the first that counts.
        fewest: rounds that are timed although they take longer (but two where a round is long).
        most: rounds after which enough is known.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(warmups):
        for run in ways.values():
            run()
    order, done = list(ways), 0
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        begin = time.perf_counter()
        while done < fewest or (done < most and time.perf_counter() - begin < budget_s):
            for way in order:
                seconds[way].append(_elapsed(ways[way]))
            order.reverse()
            done += 1
            if time.perf_counter() - begin > LONG_ROUND_S:
                fewest = min(fewest, 2)
    finally:
        if was_enabled:
            gc.enable()
    return Timing(seconds)


def _elapsed(run: Callable[[], object]) -> float:
    """Seconds of one call; freeing what it returns counts, as it does in a training loop."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
