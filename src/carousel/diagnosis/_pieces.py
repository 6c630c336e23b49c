"""How much time a layer has in one piece: over a cut no gradient goes, whatever the weights."""

from __future__ import annotations

from itertools import pairwise

from carousel.flow import LayerFlow

__all__ = ["crosses", "longest_piece"]


def longest_piece(layer: LayerFlow) -> int:
    """The most steps of a layer in one piece, between two cuts."""
    steps = int(layer.lengths.max())
    marks = [0, *(step for step in layer.cuts if 0 < step < steps), steps]
    return max(after - before for before, after in pairwise(marks))


def crosses(layer: LayerFlow, lag_steps: int) -> bool:
    """Whether two steps so far apart are in one piece anywhere; uncut time may go on for ever."""
    return not any(step > 0 for step in layer.cuts) or longest_piece(layer) > lag_steps
