"""How far one gradient is from another, as a whole."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Difference"]


@dataclass(frozen=True)
class Difference:
    """How far a gradient of which something was cut off, g', is from the full one, g.

    Both are NaN where the full gradient is zero; the cosine also where the other one is.
    """

    relative: float  # ||g' - g|| / ||g||, Frobenius norms: the relative bias of truncation
    cosine: float  # <g', g> / (||g'|| ||g||)
