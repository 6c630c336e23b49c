"""A gradient that is only injected, never carried: the layer learns each step by itself.

carried share of a step back = ||what step t+1 sent to t|| / ||d_s[t+1]||,    s = c, or h
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from operator import add

import torch

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import power
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["injected_only"]

# Of a step's gradient, passed to the step before. At a thousandth the second step back has a
# millionth: there is no memory of even two steps.
NOTHING = 1e-3
SOURCE = "what a hook on the stacked output sees is the injected part only (tensorflow#5412)"


def injected_only(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer in which no step passes on what it receives."""
    for layer in subject.derived:
        log10 = _largest_gain(layer)
        if log10 is None or log10 >= math.log10(NOTHING):
            continue
        yield Finding(
            rule="injected-only",
            severity="warning" if subject.lag_steps is None else "error",
            layer=layer.name,
            sentence=(
                f"The gradient is injected at each step and not carried: of what a step receives, "
                f"the step before gets {power(log10)} at most. Over time this layer learns nothing."
            ),
            evidence={"largest_carried_share_log10": log10, "steps": float(layer.steps)},
            threshold=math.log10(NOTHING),
            source=SOURCE,
        )


def _largest_gain(layer: LayerFlow) -> float | None:
    """log10 of the largest share that a step passes on; None where no step could."""
    if layer.steps < 2:
        return None
    paths = layer.paths()
    ways = [part for name, part in paths.scaled.items() if name != "injected"]
    carried = reduce(add, ways).log2_norm() * math.log10(2)
    total = paths.log10_norm("total")
    if layer.direction == "reverse":
        carried, total = carried.flip(0), total.flip(0)
        valid = layer.trace.valid.flip(0)
    else:
        valid = layer.trace.valid
    both = valid[1:] & valid[:-1] & total[1:].isfinite() & ~carried[:-1].isnan()
    if not bool(both.any()):
        return None
    gain = torch.where(both, carried[:-1] - total[1:], -math.inf)
    return float(gain.max())
