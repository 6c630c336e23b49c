"""What arrives at the state of each step from outside, h and c side by side on one power of two.

This is where every way back in time begins. At a boundary between two calls over which no single
way can be followed, all that stands at the last step before it counts as having arrived there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel.cells import (
    Linearisation,
    Scaled,
    binary_exponent,
    largest,
    pull_back,
    times_power_of_two,
)
from carousel.trace import Trace

__all__ = ["Arriving", "arriving"]

NOISE = 64  # roundings by which two ways to one gradient may differ
ORDINARY = 20  # numbers from 2^-20 to 2^20 need no exponent beside them


@dataclass(frozen=True)
class Arriving:
    """In running order. What arrives at c is without what c receives through h of its step."""

    vectors: tuple[Tensor, ...]  # at h [T, B, P] and, where there is a c, at c [T, B, H]
    exponent: Tensor  # [T, B] int32, of both
    there: Tensor  # [T, B] bool, whether anything arrives
    standing: Scaled  # [T, B, P (+ H)] the totals, at c without what comes through h of the step
    crossing: Mapping[int, Tensor]  # first step of a later call: what crosses unchanged, [B] bool


def arriving(trace: Trace, linearisation: Linearisation) -> Arriving:
    """What arrives at each step.

    Args:
        trace: in running order.
        linearisation: of its trajectory, truncated where the trace's gradient is.
    """
    outputs = trace.d_h.mantissa.shape[-1]
    vector, exponent = _ordinary(_joined(trace.d_h_injected, trace.d_c_injected))
    standing, crossing = _standing(trace, linearisation), {}
    if trace.boundaries:
        crossing = _crossing(trace, linearisation, standing, Scaled(vector, exponent))
        total, total_exponent = _ordinary(standing)
        for step, crosses in crossing.items():
            before = step - 1
            vector[before] = torch.where(crosses.unsqueeze(-1), vector[before], total[before])
            exponent[before] = torch.where(crosses, exponent[before], total_exponent[before])
    vectors: tuple[Tensor, ...] = (vector,)
    if trace.cell.has_c:
        vectors = (vector[..., :outputs].contiguous(), vector[..., outputs:].contiguous())
    return Arriving(vectors, exponent, (vector != 0).any(-1), standing, crossing)


def _crossing(
    trace: Trace, linearisation: Linearisation, standing: Scaled, arrived: Scaled
) -> dict[int, Tensor]:
    """Over which boundaries, and in which sequences, the gradient came back unchanged.

    Where values and graph allow it, what stands at the first step of the later call is pulled back
    over that step and compared with what came to the last step before it from there.
    """
    step = pull_back(linearisation)
    outputs = trace.d_h.mantissa.shape[-1]
    noise = NOISE * torch.finfo(trace.dtype).eps
    found = {}
    for boundary, state in zip(trace.boundaries, trace.handed_over, strict=True):
        if boundary in trace.cuts or not bool((state == 1).any()):
            found[boundary] = torch.zeros_like(state, dtype=torch.bool)
            continue
        v, exponent = standing.mantissa[boundary], standing.exponents()[boundary]
        shift = binary_exponent(largest(v))
        v = times_power_of_two(v, -shift)
        v_h, v_c = step(boundary, v[:, :outputs], v[:, outputs:] if trace.cell.has_c else None)
        pulled = v_h if v_c is None else torch.cat([v_h, v_c], dim=-1)
        place = slice(boundary - 1, boundary)
        here = standing.map(lambda rows, place=place: rows[place])  # type: ignore[misc]
        rest = here + arrived.map(lambda rows, place=place: rows[place]).linear(torch.neg)  # type: ignore[misc]
        rest = rest + Scaled(-pulled.unsqueeze(0), (exponent + shift).unsqueeze(0))
        equal = rest.log2_largest() <= here.log2_largest() + math.log2(noise)
        found[boundary] = equal[0] & (state == 1)
    return found


def _standing(trace: Trace, linearisation: Linearisation) -> Scaled:
    """All that stands at (h, c) of each step: the total, at c without its way through h."""
    if trace.d_c is None:
        return _joined(trace.d_h, None)
    assert linearisation.c_from_h is not None
    w_hr, c_from_h = linearisation.weights.w_hr, linearisation.c_from_h
    through_h = trace.d_h.linear(lambda d_h: -c_from_h * (d_h if w_hr is None else d_h @ w_hr))
    return _joined(trace.d_h, trace.d_c + through_h)


def _joined(h: Scaled, c: Scaled | None) -> Scaled:
    """h and c side by side, [T, B, P + H]."""
    if c is None:
        return h
    outputs, units = h.mantissa.shape[-1], c.mantissa.shape[-1]
    return h.linear(lambda rows: pad(rows, (0, units))) + c.linear(
        lambda rows: pad(rows, (outputs, 0))
    )


def _ordinary(scaled: Scaled) -> tuple[Tensor, Tensor]:
    """Mantissa of ordinary size, and the exponent written out; both are copies."""
    shift = binary_exponent(largest(scaled.mantissa))
    shift = torch.where(shift.abs() <= ORDINARY, 0, shift)
    return times_power_of_two(scaled.mantissa, -shift), scaled.exponents() + shift
