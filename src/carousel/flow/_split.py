"""What of dL/dh_t arrived at step t, and what was carried there through time.

    d_h = injected + carried;     share of a part = <part, d_h> / <d_h, d_h>

The shares add up to 1. One of them may be above 1 and the other below 0: then the two parts point
against one another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells import Scaled, binary_exponent, largest, times_power_of_two
from carousel.flow._shown import Shown, middle, per_cent
from carousel.trace import Trace

__all__ = ["Split", "split"]


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """Injected against carried at every step, [T, B] float64.

    Shares are NaN where the total is zero or not finite and at padding; the log10 of the parts'
    norms is -inf at an exact zero and at padding. A carried part below the rounding of the total
    may show as zero.
    """

    injected: Tensor  # share of the total that arrived at this step from outside
    carried: Tensor  # share that came back from later steps
    log10_injected: Tensor  # of the norm over the units
    log10_carried: Tensor

    def __str__(self) -> str:
        return (
            f"Of dL/dh_t {per_cent(middle(self.injected))} was injected at step t and "
            f"{per_cent(middle(self.carried))} carried there from other steps (medians over steps "
            "and sequences)."
        )


def split(trace: Trace) -> Split:
    """Tell apart what arrived and what was carried; see ``LayerFlow.split``."""
    total, injected = trace.d_h, trace.d_h_injected
    carried = total + injected.linear(torch.neg)
    shift = binary_exponent(largest(total.mantissa))
    unit = times_power_of_two(total.mantissa, -shift).double()
    exponent = total.exponents() + shift
    square = unit.square().sum(-1)

    def share(part: Scaled) -> Tensor:
        # An entry far above the total overflows to infinity, one far below is nothing beside it.
        same = part.linear(Tensor.double).at(exponent).mantissa
        found = (same * unit).sum(-1) / square
        return torch.where((square > 0) & trace.valid, found, math.nan)

    def log10(part: Scaled) -> Tensor:
        return torch.where(trace.valid, part.log2_norm() * math.log10(2), -math.inf)

    return Split(share(injected), share(carried), log10(injected), log10(carried))
