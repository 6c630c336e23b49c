"""What one forward and backward pass of one recurrent layer left behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from carousel.cells import Cell, Scaled, Trajectory, Weights

__all__ = ["Trace", "certified"]


@dataclass(frozen=True)
class Trace:
    """One layer in one direction, over one timeline, time first and in the input's order.

    A timeline is one call of a module, or several calls in which each started from the state that
    the one before had left (chunks of a sequence, or a cell called in a loop).
    """

    name: str  # module path + torch's suffix: "encoder.lstm.l0_reverse"
    cell: Cell
    direction: str  # "forward" or "reverse"
    gradient: str  # "full", or "1997": truncated, see carousel.LSTM
    dtype: torch.dtype  # of the module's arithmetic
    x: Tensor  # [T, B, I]
    lengths: Tensor  # [B] int64, valid steps of each sequence
    weights: Weights
    trajectory: Trajectory
    d_h: Scaled  # [T, B, P]  total dL/dh_t
    d_c: Scaled | None  # [T, B, H]  total dL/dc_t
    d_h_injected: Scaled  # [T, B, P]  the part of d_h that did not come through time
    d_c_injected: Scaled | None  # [T, B, H]
    d_h_start: Scaled  # [1, B, P]  dL/dh_0
    d_c_start: Scaled | None  # [1, B, H]
    certificate: float  # max |h recomputed - h of the module|, see certified()
    certificate_limit: float  # what rounding can explain of it
    boundaries: tuple[int, ...]  # steps at which a later call of the module begins
    handed_over: Tensor  # [len(boundaries), B]  1 state unchanged, 0 reset to zero, NaN neither
    cut_states: Mapping[int, str]  # step before which of the state was detached: "h", "c", "hc"
    notes: tuple[str, ...]  # what altered the gradient or limits what was seen
    unbatched: bool = False  # whether the module's input had no axis for the batch
    path: str | None = None  # of the module, "" for the model itself; None where there is none

    @property
    def valid(self) -> Tensor:
        """Which steps hold data, [T, B] bool."""
        steps = torch.arange(self.x.shape[0], device=self.lengths.device)
        return steps.unsqueeze(1) < self.lengths.unsqueeze(0)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Steps before which the state, or h or c of it, was detached."""
        return tuple(self.cut_states)

    def along_time(self, function: Callable[[Tensor], Tensor]) -> Trace:
        """The trace with ``function``, which rearranges steps, applied to all that has them."""
        return replace(
            self,
            x=function(self.x),
            trajectory=self.trajectory.map(function),
            d_h=self.d_h.map(function),
            d_c=None if self.d_c is None else self.d_c.map(function),
            d_h_injected=self.d_h_injected.map(function),
            d_c_injected=None if self.d_c_injected is None else self.d_c_injected.map(function),
        )


def certified(stack: Sequence[Trace]) -> list[Trace]:
    """Give every layer of a stack the certificate of the one that was met worst.

    States go up through all layers and gradients down, so no layer is replayed better than that.
    """
    worst = max(stack, key=_excess)
    return [
        replace(trace, certificate=worst.certificate, certificate_limit=worst.certificate_limit)
        for trace in stack
    ]


def _excess(trace: Trace) -> float:
    ratio = trace.certificate / trace.certificate_limit
    return math.inf if math.isnan(ratio) else ratio
