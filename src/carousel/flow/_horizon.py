"""The memory horizon: how fast the product of Jacobians decays with the lag.

    lambda = d/dk ln ||V ds_T/ds_{T-k}||_2        horizon = -1 / lambda steps

The rows of V are the directions at the end that last longest: what a few random columns become that
are pushed forward through all steps, orthonormal. So this is the rate of the spectral norm of the
product, without the product: what decides is whether anything comes through. The first steps, in
which directions die that are not among these, are left out.

Where many directions decay at nearly the same rate, a few hundred steps are not the long run: the
leading Lyapunov exponent (``LayerFlow.spectrum``), and the mean over directions, are then faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from carousel.flow._frame import random_frame
from carousel.flow._jacobian import log_norms_by_lag, spectral
from carousel.flow._running import in_running_order
from carousel.flow._tangent import tangent_of
from carousel.trace import Trace

__all__ = ["Horizon", "horizon", "leading_rows", "t_quantile"]

ROWS = 16  # directions that are pulled back
BETWEEN_FACTORISATIONS = 8  # steps in which no direction is lost beside another
MOST_LAGS = 4000  # steps back over which the rate is taken; more would cost and change nothing
LEAST_LAGS = 8  # fewer than these give no rate
MOST_WINDOWS = 8  # windows in which each sequence gives a rate of its own
MOST_CUTS_NAMED = 5
# Student's t at 97.5 % for 1 .. 30 degrees of freedom; 1.96 beyond.
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)

Kind = Literal["decaying", "growing", "level", "zero", "nonfinite", "too short"]


@dataclass(frozen=True)
class Horizon:
    """The rate of the Jacobian product by lag, and the horizon that follows from it.

    ``kind`` says which case it is: *decaying* and *growing* by the sign of the rate, *level* where
    the interval holds both signs, *zero* where the product is exactly zero in half of the
    sequences or more, *nonfinite* where it is NaN or infinite, *too short* where there are not
    enough steps for a rate.
    """

    kind: Kind
    rate: float  # per step, natural logarithm; NaN where there is none
    rate_interval: tuple[float, float]  # 95 %, from the spread over the batch and windows of time
    lags: int  # steps over which the rate was taken, or until the product was zero
    left_out: int = 0  # sequences that are not counted: their product is exactly zero
    cuts: tuple[int, ...] = ()  # steps before which the whole state was detached
    nonfinite: int = 0  # sequences that are not counted either: their states are not finite

    @property
    def steps(self) -> float | None:
        """-1 / rate: steps in which the gradient falls to 1/e; None unless it decays."""
        return -1 / self.rate if self.rate < 0 and math.isfinite(self.rate) else None

    @property
    def steps_interval(self) -> tuple[float, float] | None:
        """The horizon at both ends of the interval; infinite where the rate may be zero."""
        if self.steps is None:
            return None
        low, high = self.rate_interval
        return -1 / low, (-1 / high if high < 0 else math.inf)

    @property
    def half_life(self) -> float | None:
        """ln 2 / -rate: steps in which the gradient halves; None unless it decays."""
        return None if self.steps is None else self.steps * math.log(2)

    def __str__(self) -> str:
        said = SENTENCES[self.kind](self)
        if self.cuts and math.isfinite(self.rate):
            said += f" {_cut(self.cuts)}"
        if self.left_out:
            said += f" Sequences not counted, since nothing reaches back in them: {self.left_out}."
        if self.nonfinite and self.kind != "nonfinite":
            said += f" Sequences not counted, since their states are not finite: {self.nonfinite}."
        return said


def horizon(trace: Trace) -> Horizon:
    """Measure the horizon of one layer, over its sequences whose states are finite.

    A state that was reset between calls ends the product there: a reset says nothing of the rate.
    One that was detached does not: the rate is that of the state, and ``cuts`` are told beside it.
    """
    states = [part for part in (trace.trajectory.h, trace.trajectory.c) if part is not None]
    finite = torch.stack([part.isfinite().all(-1).all(0) for part in states]).all(0)
    if not bool(finite.any()):
        return Horizon("nonfinite", math.nan, (math.nan, math.nan), 0, nonfinite=len(finite))
    unchanged = torch.where(trace.handed_over == 1, 1.0, torch.nan)
    trace = replace(trace, handed_over=unchanged)
    log = log_norms_by_lag(trace, leading_rows(trace), spectral, MOST_LAGS)
    whole = "h" if trace.d_c is None else "hc"
    cuts = tuple(step for step, states in trace.cut_states.items() if states == whole)
    return replace(horizon_of(log[:, finite]), cuts=cuts, nonfinite=int((~finite).sum()))


def horizon_of(log_norms: Tensor) -> Horizon:
    """The horizon of given log norms by lag.

    Args:
        log_norms: natural logarithms [L, B]; NaN from where a sequence has no further lag.
    """
    none = (math.nan, math.nan)
    count = int((~log_norms.isnan()).sum(0).max())
    if bool(log_norms[0].isnan().any()) or bool((log_norms == math.inf).any()):
        return Horizon("nonfinite", math.nan, none, 0)
    reached_zero = (log_norms == -math.inf).any(0)
    left_out = int(reached_zero.sum())
    if 2 * left_out >= log_norms.shape[1]:
        first = (log_norms[:, reached_zero] == -math.inf).int().argmax(0)
        return Horizon("zero", -math.inf, (-math.inf, -math.inf), int(first.max()))
    by_sequence = [each for each in map(_windows, log_norms[:, ~reached_zero].T) if each]
    if not by_sequence:
        return Horizon("too short", math.nan, none, count - 1)
    windows = [window for each in by_sequence for window in each]
    rate, margin = _mean(windows), _margin([window.rate for window in windows])
    if len(by_sequence) > 1:  # where sequences differ, their windows are no samples of one rate
        margin = max(margin, _margin([_mean(each) for each in by_sequence]))
    interval = (rate - margin, rate + margin)
    kind: Kind = "decaying" if interval[1] < 0 else "growing" if interval[0] > 0 else "level"
    return Horizon(kind, rate, interval, count - 1, left_out)


@dataclass(frozen=True)
class _Window:
    rate: float  # per step
    span: int  # steps


def _windows(log_norms: Tensor) -> list[_Window]:
    """The rates in windows of one sequence [L]; none where it is too short."""
    known = log_norms[~log_norms.isnan()].tolist()
    first = min(len(known) // 4, 50)  # the transient, in which the rows turn
    last = len(known) - 1
    if last - first < LEAST_LAGS:
        return []
    count = max(2, min(MOST_WINDOWS, (last - first) // LEAST_LAGS))
    marks = [first + (last - first) * k // count for k in range(count + 1)]
    return [
        _Window((known[end] - known[begin]) / (end - begin), end - begin)
        for begin, end in pairwise(marks)
    ]


def _mean(windows: list[_Window]) -> float:
    return sum(window.rate * window.span for window in windows) / sum(
        window.span for window in windows
    )


def _margin(rates: list[float]) -> float:
    """Half the width of the 95 % interval of the mean."""
    count = len(rates)
    mean = sum(rates) / count
    variance = sum((rate - mean) ** 2 for rate in rates) / (count - 1)
    return t_quantile(count - 1) * math.sqrt(variance / count)


def t_quantile(degrees: int) -> float:
    """Student's t at 97.5 % for so many degrees of freedom."""
    return T_QUANTILES[degrees - 1] if degrees <= len(T_QUANTILES) else 1.96


def leading_rows(trace: Trace) -> Tensor:
    """The directions at each sequence's end that last longest on the way back, [R, B, S].

    They are the leading left singular vectors of the product of all Jacobians, or nearly so: what
    random columns at its beginning become, orthonormal.
    """
    running = in_running_order(trace)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        tangent = tangent_of(running, truncated=trace.gradient == "1997")
        begin = random_frame(tangent.batch, tangent.size, min(ROWS, tangent.size), tangent.device)
        begin = begin.to(tangent.dtype)
        q, valid = begin, running.valid[:, :, None, None]
        for t in range(max(1, int(trace.lengths.min()) - MOST_LAGS), tangent.steps):
            pushed = tangent.push(t, q)
            size = pushed.abs().amax(dim=(1, 2), keepdim=True)
            # Where nothing comes through, or a call began anew, the directions begin anew too.
            through = (size > 0) & size.isfinite()
            pushed = torch.where(through, pushed / size, begin)
            if t % BETWEEN_FACTORISATIONS == 0:
                pushed = torch.linalg.qr(pushed)[0]
            q = torch.where(valid[t], pushed, q)
        rows: Tensor = torch.linalg.qr(q)[0].permute(2, 0, 1)
        return rows


def _decaying(h: Horizon) -> str:
    assert h.steps_interval is not None
    low, high = h.steps_interval
    return (
        f"What one step's loss sends back in time halves every {h.half_life:.3g} steps: "
        f"horizon {h.steps:.3g} steps (95 % interval {low:.3g} to {high:.3g})."
    )


def _growing(h: Horizon) -> str:
    return (
        f"What one step's loss sends back in time grows: it doubles every "
        f"{math.log(2) / h.rate:.3g} "
        f"steps (rate {h.rate:+.3g} per step, 95 % interval {h.rate_interval[0]:+.3g} to "
        f"{h.rate_interval[1]:+.3g})."
    )


def _level(h: Horizon) -> str:
    low, high = h.rate_interval
    measured = f"(rate {h.rate:+.2g} per step, 95 % interval {low:+.2g} to {high:+.2g})"
    if low >= 0:
        return f"Over {h.lags} steps what one step's loss sends back does not decay {measured}."
    return (
        f"Over {h.lags} steps the decay of what one step's loss sends back cannot be told from "
        f"none: horizon longer than {-1 / low:.3g} steps {measured}."
    )


def _zero(h: Horizon) -> str:
    steps = "one step" if h.lags == 1 else f"{h.lags} steps"
    return f"The gradient is exactly zero from {steps} back on."


def _cut(cuts: tuple[int, ...]) -> str:
    """That what the sentence says holds of the state, and where its gradient ended before."""
    shown = ", ".join(str(step) for step in cuts[:MOST_CUTS_NAMED])
    more = f" and {len(cuts) - MOST_CUTS_NAMED} more" if len(cuts) > MOST_CUTS_NAMED else ""
    return (
        f"This is the rate of the state, not of what training saw: the state was detached before "
        f"step{'s' * (len(cuts) > 1)} {shown}{more}, and no gradient crosses there."
    )


def _nonfinite(_: Horizon) -> str:
    return "The product of the Jacobians is not finite: no horizon."


def _too_short(h: Horizon) -> str:
    return f"Not enough steps for a horizon: {h.lags} lags, at least {2 * LEAST_LAGS} are needed."


SENTENCES: dict[Kind, Callable[[Horizon], str]] = {
    "decaying": _decaying,
    "growing": _growing,
    "level": _level,
    "zero": _zero,
    "nonfinite": _nonfinite,
    "too short": _too_short,
}
