"""Lyapunov exponents: how fast nearby states part from each other, direction by direction.

    Q_t R_t = J_t Q_{t-1}        lambda_i = mean over t of ln |r_ii|        (Benettin et al. 1980)

on the full state s = (h, c), forward in time, after a transient in which the directions find their
places. Leaving c out of the state answers another question, and often the opposite way.

Cost for k of S exponents, over T steps and B sequences: O(T B (G H P k + S k^2)) work; the second
term only every few steps, as often as the directions need it (see ``_frame.py``). From 32
directions on J_t is formed, O(T B G H P), and O(B S P k) is the cost of a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow._frame import Frame, random_frame
from carousel.flow._horizon import t_quantile
from carousel.flow._running import in_running_order
from carousel.flow._shown import Shown
from carousel.flow._tangent import tangent_of
from carousel.trace import Trace

__all__ = ["Spectrum", "spectrum"]

LEAST_STEPS = 8  # in a window
MOST_WINDOWS = 8  # in which each sequence gives rates of its own
MOST_TRANSIENT = 100  # steps left out where none is asked for, a quarter of the sequence at most

Kind = Literal["contracting", "expanding", "level", "zero", "nonfinite", "too short"]


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Shown):
    """Lyapunov exponents per step, natural logarithms, the largest first.

    ``kind`` says which case it is: *contracting* and *expanding* by the sign of the largest
    exponent, *level* where its 95 % interval holds both signs, *zero* where every direction is
    mapped to zero, *nonfinite* where states or Jacobians are, *too short* where there are not
    enough steps; the exponents of the last two are NaN.

    An exponent of -inf is a direction that some step maps to zero, or shrinks so far beside the
    others (13 decimals in a single step) that float64 cannot tell it from zero; it has no standard
    error.

    Each exponent is over the sequences in which it is above -inf. Where those with fewer such
    directions have the smaller exponents, the means change places and are put in order again, so
    that an exponent need not be over the same column of ``by_sequence``.

    Windows of one sequence follow each other, and say nothing of how sequences differ: from two
    sequences on the error between sequences, Student's t for their number, gives the interval
    where it makes it wider than the windows do.
    """

    kind: Kind
    exponents: Tensor  # [k] float64, over all sequences that count
    standard_errors: Tensor  # [k] float64, the larger of: over windows of time, between sequences
    by_sequence: (
        Tensor  # [B, k] float64, finite-time exponents; NaN where a sequence does not count
    )
    size: int  # S: numbers in the state, and so exponents in the whole spectrum
    steps: int  # over which the longest sequence was taken, the transient not counted
    transient: int  # steps that were left out before
    left_out: int  # sequences that do not count: too short, or not finite
    leading_interval: tuple[float, float]  # of the largest exponent, 95 %

    @property
    def kaplan_yorke(self) -> float:
        """The Kaplan-Yorke dimension: j + (lambda_1 + .. + lambda_j) / |lambda_{j+1}|.

        j is the largest number of exponents whose sum is not negative; 0 where all are. NaN where
        that needs more exponents than were asked for.
        """
        if bool(self.exponents.isnan().any()):
            return math.nan
        total = 0.0
        exponents: list[float] = self.exponents.tolist()
        for j, exponent in enumerate(exponents):
            if total + exponent < 0:
                return j + total / -exponent
            total += exponent
        return float(self.size) if len(self.exponents) == self.size else math.nan

    def __str__(self) -> str:
        said = SENTENCES[self.kind](self)
        if not self.left_out:
            return said
        return f"{said} Sequences not counted, too short or not finite: {self.left_out}."


def spectrum(trace: Trace, k: int | None = None, transient: int | None = None) -> Spectrum:
    """The spectrum of one layer; see ``LayerFlow.spectrum``.

    A state that was reset or changed between calls ends a stretch; of each sequence the longest
    stretch counts.
    """
    trace = in_running_order(trace)
    size = sum(_widths(trace))
    count = _checked(trace, k, transient, size)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        begins, lengths = _stretches(trace)
        marks = [_marks(length, transient) for length in lengths.tolist()]
        finite = _finite(trace)
        keep = [b for b, own in enumerate(marks) if own and bool(finite[b])]
        if not keep:
            countable = finite.cpu()
            kind: Kind = "too short" if bool(countable.any()) else "nonfinite"
            longest = int((lengths[countable] if bool(countable.any()) else lengths).max())
            left_out = _transient(longest, transient)
            return _nothing(kind, trace, count, longest - left_out, left_out)
        part = _cut(trace, keep, begins, lengths)
        kept = [marks[b] for b in keep]
        rates, spans = _window_rates(part, kept, count)
    return _summed(trace, (rates, spans), keep, kept)


def _checked(trace: Trace, k: int | None, transient: int | None, size: int) -> int:
    for name, value in (("k", k), ("transient", transient)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise CarouselError(f"Expected {name} to be a whole number or None, got {value!r}.")
    if k is not None and not 1 <= k <= size:
        raise CarouselError(
            f"Expected k from 1 to {size}, the numbers in the state of {trace.name}, got {k}. "
            "Leave k out for the whole spectrum."
        )
    if transient is not None and not 0 <= transient < trace.x.shape[0]:
        raise CarouselError(
            f"Expected transient from 0 to {trace.x.shape[0] - 1}, fewer than the steps of "
            f"{trace.name}, got {transient}. Leave it out for a quarter of the sequence, "
            f"{MOST_TRANSIENT} steps at most."
        )
    return size if k is None else k


def _widths(trace: Trace) -> list[int]:
    states = (trace.trajectory.h, trace.trajectory.c)
    return [state.shape[-1] for state in states if state is not None]


def _finite(trace: Trace) -> Tensor:
    """Which sequences [B] have finite states at all of their steps."""
    finite = torch.ones_like(trace.valid)
    trajectory = trace.trajectory
    for state in (trajectory.h_prev, trajectory.c_prev, trajectory.h, trajectory.c):
        if state is not None:
            finite = finite & state.isfinite().all(-1)
    return (finite | ~trace.valid).all(0)


def _stretches(trace: Trace) -> tuple[Tensor, Tensor]:
    """Where the longest stretch of each sequence begins, and its length, both [B]."""
    begins, lengths = [], []
    for b, length in enumerate(trace.lengths.tolist()):
        breaks = [
            t
            for t, factor in zip(trace.boundaries, trace.handed_over[:, b].tolist(), strict=True)
            if factor != 1 and t < length
        ]
        bounds = [0, *breaks, length]
        spans = [(end - begin, begin) for begin, end in pairwise(bounds)]
        longest, begin = max(spans)
        begins.append(begin)
        lengths.append(longest)
    return torch.tensor(begins), torch.tensor(lengths)


def _transient(length: int, transient: int | None) -> int:
    return min(length // 4, MOST_TRANSIENT) if transient is None else transient


def _marks(length: int, transient: int | None) -> list[int]:
    """Steps between which the windows of a sequence lie; [] where it is too short."""
    first = _transient(length, transient)
    windows = min(MOST_WINDOWS, (length - first) // LEAST_STEPS)
    if windows < 2:
        return []
    return [first + (length - first) * w // windows for w in range(windows + 1)]


def _cut(trace: Trace, keep: list[int], begins: Tensor, lengths: Tensor) -> Trace:
    """The sequences that count, each from the beginning of its stretch, without boundaries."""
    device = trace.x.device
    sequences = torch.tensor(keep, device=device)
    begins, lengths = begins.to(device)[sequences], lengths.to(device)[sequences]
    whole = not bool(begins.any()) and len(keep) == trace.x.shape[1]
    trajectory, x = trace.trajectory, trace.x
    if not whole:
        t = torch.arange(int(lengths.max()), device=device).unsqueeze(1)
        # Beyond its end a sequence stands at its last step, where everything is finite.
        source = begins + torch.minimum(t, lengths - 1)

        def pick(tensor: Tensor) -> Tensor:
            return tensor[source, sequences]

        trajectory, x = trajectory.map(pick), pick(x)
    return replace(
        trace,
        x=x,
        trajectory=trajectory,
        lengths=lengths,
        boundaries=(),
        handed_over=torch.ones(0, len(keep)),
    )


def _window_rates(
    trace: Trace, marks: list[list[int]], count: int
) -> tuple[list[Tensor], list[Tensor]]:
    """For each sequence: rates [windows, k] and steps [windows] of its windows of time.

    The directions of a sequence are in the order of its exponents over all windows.
    """
    tangent = tangent_of(trace, torch.float64)
    frame = Frame(
        tangent.push,
        random_frame(tangent.batch, tangent.size, count, tangent.device),
        drop=True,
    )
    cuts = sorted({mark for own in marks for mark in own})
    total = torch.zeros(tangent.batch, count, dtype=torch.float64, device=tangent.device)
    at: dict[int, Tensor] = {0: total}
    wanted = set(cuts)
    for link in frame.along(range(cuts[-1]), cuts, trace.lengths):
        if link.order is not None:
            places = link.order
            total = total.gather(-1, places)
            at = {step: logs.gather(-1, places) for step, logs in at.items()}
        total = total + link.triangle.diagonal(dim1=-2, dim2=-1).abs().log()
        total = torch.where(frame.dead, -math.inf, total)
        if link.stop in wanted:
            at[link.stop] = total
    rates, spans = [], []
    for b, own in enumerate(marks):
        logs = torch.stack([at[mark][b] for mark in own])
        steps = torch.tensor(own, device=logs.device).diff().unsqueeze(-1)
        gone = logs[-1] == -math.inf
        rate = torch.where(gone, -math.inf, logs.diff(dim=0) / steps)
        order = (rate * steps).sum(0).argsort(descending=True, stable=True)
        rates.append(rate[:, order].cpu())
        spans.append(steps.cpu())
    return rates, spans


def _summed(
    trace: Trace,
    windows: tuple[list[Tensor], list[Tensor]],
    keep: list[int],
    marks: list[list[int]],
) -> Spectrum:
    """Means over time and sequences, and how far they can be trusted."""
    rates, spans = windows
    own = torch.stack(
        [(rate * span).sum(0) / span.sum() for rate, span in zip(rates, spans, strict=True)]
    )
    batch = trace.x.shape[1]
    by_sequence = torch.full((batch, own.shape[1]), math.nan, dtype=torch.float64)
    by_sequence[keep] = own
    exponents, errors, margins = _means(rates, spans, own)
    # Fewer sequences count towards a later exponent: it may have become the larger one.
    order = exponents.argsort(descending=True, stable=True)
    exponents, errors, margins = exponents[order], errors[order], margins[order]
    leading, margin = float(exponents[0]), float(margins[0])
    longest = max(marks, key=lambda mark: mark[-1] - mark[0])
    return Spectrum(
        kind=_kind(leading, margin),
        exponents=exponents,
        standard_errors=errors,
        by_sequence=by_sequence,
        size=sum(_widths(trace)),
        steps=longest[-1] - longest[0],
        transient=longest[0],
        left_out=batch - len(keep),
        leading_interval=(leading, leading)
        if leading == -math.inf
        else (leading - margin, leading + margin),
    )


def _means(rates: list[Tensor], spans: list[Tensor], own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Exponents, standard errors and half the 95 % intervals, each [k], of the columns of ``own``.

    Args:
        rates: of each sequence in windows of time, [windows, k].
        spans: steps of those windows, [windows, 1].
        own: rates of each sequence over all of its windows [B, k]; -inf where it does not count.
    """
    each, span = torch.cat(rates), torch.cat(spans)
    sequence = torch.tensor([b for b, rate in enumerate(rates) for _ in rate])
    lives = own != -math.inf
    alive = lives[sequence]
    weights = alive * span
    exponents = torch.where(alive, each * span, 0.0).sum(0) / weights.sum(0)
    totals = torch.stack([steps.sum(0) for steps in spans])
    errors, between = _error(each, weights), _error(own, lives * totals)
    margins = _t(alive) * errors
    several = lives.sum(0) > 1
    errors = torch.where(several, torch.maximum(errors, between), errors)
    margins = torch.where(several, torch.maximum(margins, _t(lives) * between), margins)
    # As for the horizon: zero where it is zero in half of the sequences or more.
    gone = 2 * lives.sum(0) <= len(own)
    return (
        exponents.masked_fill(gone, -math.inf),
        errors.masked_fill(gone, math.nan),
        margins.masked_fill(gone, math.nan),
    )


def _t(counted: Tensor) -> Tensor:
    """Student's t for the mean of those that count, [N, k] -> [k]."""
    degrees = (counted.sum(0) - 1).clamp(min=1)
    return torch.tensor([t_quantile(count) for count in degrees.tolist()], dtype=torch.float64)


def _error(values: Tensor, weights: Tensor) -> Tensor:
    """The standard error of the weighted mean of values [N, k], of one variance each, [k].

    A value of weight zero does not count.
    """
    counted = weights > 0
    count = counted.sum(0)
    mean = torch.where(counted, values, 0.0).sum(0) / count
    variance = torch.where(counted, values - mean, 0.0).square().sum(0) / (count - 1)
    shares = weights.double() / weights.sum(0)
    return (variance * shares.square().sum(0)).sqrt()


def _kind(leading: float, margin: float) -> Kind:
    if leading == -math.inf:
        return "zero"
    if not math.isfinite(leading):
        return "nonfinite"
    return "contracting" if leading + margin < 0 else "expanding" if leading > margin else "level"


def _nothing(kind: Kind, trace: Trace, count: int, steps: int, transient: int) -> Spectrum:
    none = torch.full((trace.x.shape[1], count), math.nan, dtype=torch.float64)
    return Spectrum(
        kind=kind,
        exponents=none[0],
        standard_errors=none[0],
        by_sequence=none,
        size=sum(_widths(trace)),
        steps=max(0, steps),
        transient=transient,
        left_out=0,
        leading_interval=(math.nan, math.nan),
    )


def _numbers(s: Spectrum) -> str:
    low, high = s.leading_interval
    said = (
        f"largest Lyapunov exponent {float(s.exponents[0]):+.3g} per step (95 % interval "
        f"{low:+.3g} to {high:+.3g}, over {s.steps} steps)"
    )
    if math.isnan(s.kaplan_yorke):
        return f"{said}, {len(s.exponents)} of {s.size} exponents."
    return f"{said}, Kaplan-Yorke dimension {s.kaplan_yorke:.3g} of {s.size}."


def _contracting(s: Spectrum) -> str:
    steps = math.log(2) / -float(s.exponents[0])
    return f"Nearby states approach each other, by half every {steps:.3g} steps: {_numbers(s)}"


def _expanding(s: Spectrum) -> str:
    steps = math.log(2) / float(s.exponents[0])
    return f"Nearby states part: their distance doubles every {steps:.3g} steps: {_numbers(s)}"


def _level(s: Spectrum) -> str:
    return f"Whether nearby states approach each other or part cannot be told: {_numbers(s)}"


def _zero(_: Spectrum) -> str:
    return "Every direction of the state is mapped to zero: nothing of it is remembered."


def _nonfinite(_: Spectrum) -> str:
    return "The states or their Jacobians are not finite: no Lyapunov exponents."


def _too_short(s: Spectrum) -> str:
    return (
        f"Not enough steps for Lyapunov exponents: {s.steps} after a transient of {s.transient}, "
        f"at least {2 * LEAST_STEPS} are needed."
    )


SENTENCES: dict[Kind, Callable[[Spectrum], str]] = {
    "contracting": _contracting,
    "expanding": _expanding,
    "level": _level,
    "zero": _zero,
    "nonfinite": _nonfinite,
    "too short": _too_short,
}
