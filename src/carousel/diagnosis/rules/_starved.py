"""Layers of a stack that starve the ones below: the gradient hardly gets down.

    ratio = max over t of ||d_h of the layer below|| / max over t of ||d_h of this layer||

per sequence, then the median. Totals and not what is injected, since a layer of slow gates sends
little at each step and much in all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import power
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["starved"]

# For one layer down. torch's and chrono's initialisations pass between a tenth and all of it at
# each step; two layers down from a thousandth, a millionth is left.
LITTLE = 1e-3
SOURCE = "Glorot & Bengio 2010, for depth: the gradient should keep its size from layer to layer"


def starved(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer of a stack that gets next to nothing from the layer above."""
    by_place = {
        (place.path, place.number, place.layer, place.reverse): subject.flow[name]
        for name, place in subject.places.items()
    }
    for (path, number, layer, _), below in by_place.items():
        above = [by_place.get((path, number, layer + 1, way)) for way in (False, True)]
        there = [one for one in above if one is not None]  # both directions send to both below
        if not there:
            continue
        log10 = _ratio(below, there)
        if log10 is None or log10 >= math.log10(LITTLE):
            continue
        yield Finding(
            rule="starved",
            severity="warning",
            layer=below.name,
            sentence=(
                f"This layer gets {power(log10)} of the gradient that the layer above it has: what "
                f"stands between them, {there[0].name}'s gates and input weights, lets next to "
                "nothing down."
            ),
            evidence={"gradient_below_over_above_log10": log10},
            threshold=math.log10(LITTLE),
            source=SOURCE,
        )


def _ratio(below: LayerFlow, above: list[LayerFlow]) -> float | None:
    """log10 of the ratio; None where it is not known: no gradient above, or none that is finite."""
    low = _largest(below)
    high = _largest(above[0])
    for other in above[1:]:
        high = high.maximum(_largest(other))
    known = high.isfinite() & ~low.isnan() & (low != math.inf)
    return float((low - high)[known].median()) if bool(known.any()) else None


def _largest(layer: LayerFlow) -> Tensor:
    return layer.log10_norm("d_h").amax(0)
