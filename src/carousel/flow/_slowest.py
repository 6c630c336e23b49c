"""The horizon of all layers together: that of the slowest.

The state of a stack is that of all its layers. Layer k sees the state before of itself and, through
its input, of the layers below, never of those above: the Jacobian of the stack's step is block
triangular, and so is every product of such Jacobians, with the layers' own products on the
diagonal. Its largest rate by lag is in the long run the largest of the layers' rates: what goes
down through layers adds sums over the lags, which change a norm but not its rate.

This holds for the layers of one stack in one direction. Of layers that see one another's whole
sequences (bidirectional ones) or are unrelated it is the slowest and no more than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from carousel.flow._horizon import Horizon

__all__ = ["slowest"]


def slowest(horizons: Mapping[str, Horizon]) -> str:
    """The name of the layer whose product decays least, or grows most.

    A layer whose product is not finite comes first, for then nothing is known of the whole; one
    without enough steps for a rate comes last.
    """

    def order(name: str) -> float:
        horizon = horizons[name]
        if horizon.kind == "nonfinite":
            return math.inf
        return -math.inf if math.isnan(horizon.rate) else horizon.rate

    measured = [name for name in horizons if horizons[name].kind != "too short"]
    return max(measured or horizons, key=order)
