"""What arrives at the state of each step from outside, h and c side by side on one power of two.

This is where every way back in time begins. At a boundary between two calls over which no single
way can be followed, all that stands at the last step before it counts as having arrived there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel.cells import Linearisation, Scaled, binary_exponent, largest, times_power_of_two
from carousel.flow._autograd import StepGraph
from carousel.flow._one_step import OneStep, unit
from carousel.trace import Trace

__all__ = ["ORDINARY", "Arriving", "arriving", "linearisation_of", "standing", "through_h"]

ORDINARY = 20  # numbers from 2^-20 to 2^20 stay on the power of two that they have


@dataclass(frozen=True)
class Arriving:
    """In running order. What arrives at c is without what c receives through h of its step."""

    vectors: tuple[Tensor, ...]  # at h [T, B, P] and, where there is a c, at c [T, B, H]
    exponent: Tensor  # [T, B] int32, of both
    there: Tensor  # [T, B] bool, whether anything arrives
    # First step of a later call: which sequences go on over it, to h and to c [B] bool.
    crossing: Mapping[int, tuple[Tensor, ...]]

    def stop(self, t: int, v_h: Tensor, v_c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What has left step t towards h and c before it, without what does not cross there."""
        to_h, to_c = (crosses.unsqueeze(-1) for crosses in self.crossing[t])
        return torch.where(to_h, v_h, 0.0), None if v_c is None else torch.where(to_c, v_c, 0.0)


def linearisation_of(trace: Trace) -> Linearisation | None:
    """Along the gradient that the trace followed; None for a cell known as a function alone."""
    if not trace.cell.derived:
        return None
    return trace.cell.linearise(trace.trajectory, trace.weights, trace.gradient == "1997")


def arriving(trace: Trace, linearisation: Linearisation | None) -> Arriving:
    """What arrives at each step.

    Args:
        trace: in running order.
        linearisation: of its trajectory, see ``linearisation_of``.
    """
    at_h, at_c = trace.d_h_injected, trace.d_c_injected
    crossing = {}
    if trace.boundaries:
        assert linearisation is not None
        to_h, to_c = OneStep(trace, linearisation).crossings
        total_c = _without_h(trace, linearisation)
        at_h = _where(_ends(trace, to_h), trace.d_h, at_h)
        if at_c is not None and total_c is not None:
            at_c = _where(_ends(trace, to_c), total_c, at_c)
        crossing = {step: (to_h[step], to_c[step]) for step in trace.boundaries}
    vector, exponent = _ordinary(_joined(at_h, at_c))
    vectors: tuple[Tensor, ...] = (vector,)
    if trace.cell.has_c:
        outputs = at_h.mantissa.shape[-1]
        vectors = (vector[..., :outputs].contiguous(), vector[..., outputs:].contiguous())
    crossing = {
        step: both for step, both in crossing.items() if not all(bool(c.all()) for c in both)
    }
    return Arriving(vectors, exponent, (vector != 0).any(-1), crossing)


def standing(trace: Trace, linearisation: Linearisation | None) -> Scaled:
    """All that stands at (h, c) of each step: the total, at c without its way through h.

    Args:
        trace: in running order.
        linearisation: as ``arriving`` takes it.
    """
    return _joined(trace.d_h, _without_h(trace, linearisation))


def _without_h(trace: Trace, linearisation: Linearisation | None) -> Scaled | None:
    """dL/dc_t without what c_t receives through h_t; None without c."""
    if trace.d_c is None:
        return None
    if linearisation is not None:
        return trace.d_c + OneStep(trace, linearisation).into_c(unit(trace.d_h)).linear(torch.neg)
    d_h = unit(trace.d_h)
    return trace.d_c + Scaled(-through_h(trace, d_h.mantissa), d_h.exponent)


def through_h(trace: Trace, d_h: Tensor, first: int = 0) -> Tensor:
    """What gradients at h_t are at c_t, by autograd of each step, [S, B, P] -> [S, B, H].

    Args:
        trace: of a cell with a c that is known as a function alone.
        d_h: at h of the steps.
        first: the first of them.
    """
    found = []
    for t, d_h_t in enumerate(d_h, start=first):
        at_c = StepGraph(trace, t).through_h(d_h_t.unsqueeze(1))
        assert at_c is not None
        found.append(at_c.squeeze(1))
    return torch.stack(found)


def _ends(trace: Trace, crosses: Tensor) -> Tensor:
    """Steps after which no single way leads on, [T, B, 1] bool."""
    ends = torch.zeros_like(crosses)
    for step in trace.boundaries:
        ends[step - 1] = ~crosses[step]
    return ends.unsqueeze(-1)


def _where(flags: Tensor, one: Scaled, other: Scaled) -> Scaled:
    exponent = torch.where(flags.squeeze(-1), one.exponents(), other.exponents())
    return Scaled(torch.where(flags, one.mantissa, other.mantissa), exponent)


def _joined(h: Scaled, c: Scaled | None) -> Scaled:
    """h and c side by side, [T, B, P + H]."""
    if c is None:
        return h
    outputs, units = h.mantissa.shape[-1], c.mantissa.shape[-1]
    return h.linear(lambda rows: pad(rows, (0, units))) + c.linear(
        lambda rows: pad(rows, (outputs, 0))
    )


def _ordinary(scaled: Scaled) -> tuple[Tensor, Tensor]:
    """Mantissa of ordinary size, and the exponent written out."""
    shift = binary_exponent(largest(scaled.mantissa))
    shift = torch.where(shift.abs() <= ORDINARY, 0, shift)
    return times_power_of_two(scaled.mantissa, -shift), scaled.exponents() + shift
