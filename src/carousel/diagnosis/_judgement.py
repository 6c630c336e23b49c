"""Whether a remedy is kept: two trainings side by side, held against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from carousel.diagnosis._trial import Trial
from carousel.flow import Horizon, t_quantile

__all__ = ["Judgement", "judged", "power"]

# The losses of both trainings come from the same data step by step, so their differences are
# compared. Neighbouring steps are not independent; means over windows are nearly so.
WINDOWS = 8
# A gain at the lag counts from a factor of ten on: draws of one initialisation differ by less.
LEAST_GAIN = math.log(10)
# What is left at the lag has to be something, or it is no gain: "vanishing" calls less than a
# thousandth gone.
SOMETHING = math.log(1e-3)
# What a gain of the gradient may cost, as a part of the loss without the remedy: the upper end of
# the interval of the difference has to stay below, so that noise cannot hide a worse training.
MOST_COST = 0.05


@dataclass(frozen=True)
class Judgement:
    """What follows from two trainings."""

    kept: bool
    reason: str


def judged(before: Trial, after: Trial, layer: str, lag_steps: int | None) -> Judgement:
    """Keep a remedy if the loss is lower with it, or the gradient better at no cost in the loss.

    Lower is lower over the last quarter of the steps by more than the 95 % interval of the
    difference, which training has to have made: one that was there at step 0 is none. A better
    gradient is nearer to its own size: at the lag by a factor of ten, with a thousandth or more
    left, or without a lag by a rate per step whose 95 % intervals are apart. It is at no cost where
    the loss is not higher by more than its interval, and the upper end of that is below 5 % of the
    loss itself.
    """
    if after.ended == "not finite":
        return Judgement(
            False, f"with it the loss was not finite any more after {len(after.losses)} steps"
        )
    gained, flow = _of_flow(before, after, layer, lag_steps)
    if before.ended == "not finite":
        return _broken_off(before, after, flow)
    return _compared(before, after, gained, flow)


def _broken_off(before: Trial, after: Trial, flow: str) -> Judgement:
    """Without the remedy the training broke off."""
    broke = f"without it the loss was not finite any more after {len(before.losses)} steps"
    if _difference(before.losses, after.losses).higher:
        return Judgement(False, f"{broke}, up to which it is lower than with it; {flow}")
    return Judgement(True, f"{broke}; {flow}")


def _compared(before: Trial, after: Trial, gained: bool, flow: str) -> Judgement:
    """Both trainings ran to their end."""
    found = _difference(before.losses, after.losses)
    said = f"the loss at the end is {found}, {flow}"
    if found.higher:
        return Judgement(False, said)
    if found.lower and not _from_the_start(before, after, found.mean):
        return Judgement(True, said)
    if found.lower:
        said = f"the loss is lower by {-found.mean:.3g} from step 0 on, not by training; {flow}"
    if not gained:
        return Judgement(False, f"no gain: {said}")
    if found.lower or found.mean + found.margin <= MOST_COST * abs(before.final_loss):
        return Judgement(True, f"{said}; more steps may tell what that is worth in the loss")
    return Judgement(False, f"what it costs in the loss cannot be told in so few steps: {said}")


def _from_the_start(before: Trial, after: Trial, difference: float) -> bool:
    """Whether most of the difference was there at step 0, and the training is smaller than it."""
    at_first = after.first.loss - before.first.loss
    learnt = after.first.loss - after.final_loss
    return at_first <= difference / 2 and learnt <= abs(difference)


@dataclass(frozen=True)
class Difference:
    """The loss with the remedy less that without it, over the last quarter of the steps.

    It is told from zero by its 95 % interval, Student's over windows of steps; or by its sign,
    where that is one and the same in all windows: a spike makes the interval wide, and does not
    turn a sign. Of eight windows that happens by chance once in 128.
    """

    mean: float
    margin: float  # half of the interval; infinite of too few steps
    sign: int  # of all windows; 0 where they differ, or are too few for it to mean anything

    @property
    def lower(self) -> bool:
        """Surely below zero."""
        return self.mean + self.margin < 0 or self.sign < 0

    @property
    def higher(self) -> bool:
        """Surely above zero."""
        return self.mean - self.margin > 0 or self.sign > 0

    def __str__(self) -> str:
        if self.lower:
            return f"lower by {-self.mean:.3g}"
        if self.higher:
            return f"higher by {self.mean:.3g}"
        if not math.isfinite(self.margin):
            return "the same, as far as so few steps can tell"
        return f"the same within its interval ({self.mean:+.2g} ± {self.margin:.2g})"


def _difference(before: tuple[float, ...], after: tuple[float, ...]) -> Difference:
    """The difference step by step, over windows of the last quarter."""
    steps = min(len(before), len(after))
    tail = max(1, steps // 4)
    pairs = zip(before[steps - tail : steps], after[steps - tail : steps], strict=True)
    differences = [b - a for a, b in pairs]
    mean = sum(differences) / tail
    windows = min(WINDOWS, tail)
    if windows < 2:
        return Difference(mean, math.inf, 0)
    marks = [tail * k // windows for k in range(windows + 1)]
    means = [sum(differences[begin:end]) / (end - begin) for begin, end in pairwise(marks)]
    centre = sum(means) / windows
    variance = sum((each - centre) ** 2 for each in means) / (windows - 1)
    margin = t_quantile(windows - 1) * math.sqrt(variance / windows)
    signs = {(each > 0) - (each < 0) for each in means} if windows == WINDOWS else {0}
    return Difference(mean, margin, signs.pop() if len(signs) == 1 else 0)


def _of_flow(before: Trial, after: Trial, layer: str, lag_steps: int | None) -> tuple[bool, str]:
    """Whether the gradient comes nearer to its own size, and in words."""
    if lag_steps is None:
        slow, fast = (trial.last.layer(layer).horizon() for trial in (after, before))
        said = f"the rate per step {fast.rate:+.3g} became {slow.rate:+.3g}"
        return _slower(fast, slow), said
    one, other = (
        trial.last.log10_at_lag(layer, lag_steps) * math.log(10) for trial in (before, after)
    )
    said = (
        f"of the gradient at lag {lag_steps} a factor of {power(other)} is left instead of "
        f"{power(one)}"
    )
    return _nearer(one, other), said


def _nearer(one: float, other: float) -> bool:
    """Whether a factor, given by its logarithm, has come nearer to 1 by one e-fold."""
    if math.isnan(other) or other < SOMETHING:
        return False
    if math.isinf(one) or math.isinf(other):
        return abs(other) < abs(one)
    return math.isnan(one) or abs(one) - abs(other) >= LEAST_GAIN


def _slower(one: Horizon, other: Horizon) -> bool:
    if math.isnan(one.rate) or math.isnan(other.rate):
        return math.isfinite(other.rate) and math.isnan(one.rate)
    nearer = abs(other.rate) < abs(one.rate)
    apart = (
        other.rate_interval[0] > one.rate_interval[1]
        or other.rate_interval[1] < one.rate_interval[0]
    )
    return nearer and apart


def power(log: float) -> str:
    """A factor given by its natural logarithm: 0.031, or 2.4e-400."""
    if not math.isfinite(log):
        return {math.inf: "infinite", -math.inf: "exactly zero"}.get(log, "NaN")
    log10 = log / math.log(10)
    if -3 <= log10 < 4:
        return f"{10**log10:.2g}"
    exponent = math.floor(log10)
    return f"{10 ** (log10 - exponent):.1f}e{exponent:+d}"
