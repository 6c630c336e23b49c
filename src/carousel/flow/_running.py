"""A trace in the order in which its layer runs, and back again."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from carousel.trace import Trace, turner

__all__ = ["in_running_order", "turned_back"]


def in_running_order(trace: Trace) -> Trace:
    """The trace as it is, or, for the reverse direction, each sequence turned around."""
    if trace.direction == "forward":
        return trace
    turn = turner(trace.lengths, trace.x.shape[0])
    return replace(trace.along_time(turn), direction="forward")


def turned_back(trace: Trace, tensor: Tensor) -> Tensor:
    """A tensor [T, B, ..] in running order, in the order of the input again."""
    if trace.direction == "forward":
        return tensor
    back: Tensor = turner(trace.lengths, trace.x.shape[0])(tensor)
    return back
