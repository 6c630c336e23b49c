"""How much of a quantity is zero, or so small that the module's dtype cannot hold it as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells import Scaled
from carousel.flow._quantities import quantity
from carousel.flow._shown import Shown, counted, per_cent
from carousel.trace import Trace

__all__ = ["Tiny", "tiny"]


@dataclass(frozen=True, eq=False, repr=False)
class Tiny(Shown):
    """Shares of the entries of a step, over sequences that have data there and all units, [T].

    NaN where no sequence has data. The shares are float64, from 0 to 1.
    """

    zeros: Tensor  # exactly zero
    underflowed: Tensor  # not zero, but below the smallest normal number: denormal, or lost

    def __str__(self) -> str:
        there = ~self.zeros.isnan()
        zeros, under = self.zeros[there], self.underflowed[there]
        if not len(zeros):
            return "No sequence has data, so nothing is zero or underflows."
        return (
            f"Of the entries of {counted(len(zeros), 'step')}, {per_cent(float(zeros.mean()))} are "
            f"exactly zero and {per_cent(float(under.mean()))} underflow (mean over the steps; at "
            f"most {per_cent(float(zeros.max()))} and {per_cent(float(under.max()))} of one step)."
        )


def tiny(trace: Trace, name: str) -> Tiny:
    """Count zeros and what underflows in the module's dtype; see ``LayerFlow.tiny``."""
    gates = trace.trajectory.gates
    asked = Scaled(gates[name]) if name in gates else quantity(trace, name, also=tuple(gates))
    size = asked.mantissa.abs().double().log2() + asked.exponents().unsqueeze(-1)
    zero = asked.mantissa == 0
    smallest = math.log2(torch.finfo(trace.dtype).tiny)
    under = ~zero & (size < smallest)
    entries = trace.valid.sum(1) * size.shape[-1]

    def share(flags: Tensor) -> Tensor:
        counts = (flags & trace.valid.unsqueeze(-1)).sum((1, 2))
        return counts.double() / entries  # 0 / 0 is NaN

    return Tiny(share(zero), share(under))
