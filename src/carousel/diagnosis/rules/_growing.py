"""Growing: what one step's loss sends back doubles every few steps, and drowns all the rest.

growth = exp(rate * (T - 1)),    rate = d/dk ln ||ds_T/ds_{T-k}||  per step
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import LN10, number, power
from carousel.diagnosis._pieces import longest_piece
from carousel.diagnosis._subject import Subject
from carousel.flow import Horizon

__all__ = ["growing"]

# Over the measured steps, of what one loss sends to its own step. The mirror of vanishing: above a
# thousand, what the last step says about itself is a thousandth of the gradient, below the noise
# of any batch; above ten it is below that of an ordinary one.
LOG10_MUCH = 1.0
LOG10_EVERYTHING = 3.0
SOURCE = "Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013, section 2"


def growing(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer whose Jacobian products grow with the lag."""
    for layer in subject.layers:
        horizon = layer.horizon()
        if horizon.kind != "growing":
            continue
        steps = longest_piece(layer) - 1
        log10_growth = horizon.rate * steps / LN10
        surely = horizon.rate_interval[0] * steps / LN10
        if log10_growth < LOG10_MUCH:
            continue
        severe = surely >= LOG10_EVERYTHING
        yield Finding(
            rule="growing",
            severity="error" if severe else "warning",
            layer=layer.name,
            sentence=_sentence(horizon, steps, log10_growth),
            evidence={
                "rate_per_step": horizon.rate,
                "rate_low_per_step": horizon.rate_interval[0],
                "doubling_steps": math.log(2) / horizon.rate,
                "steps": float(steps),
                "growth_log10": log10_growth,
            },
            threshold=LOG10_EVERYTHING if severe else LOG10_MUCH,
            source=SOURCE,
        )


def _sentence(horizon: Horizon, steps: int, log10_growth: float) -> str:
    doubling = math.log(2) / horizon.rate
    return (
        f"The gradient grows: it doubles every {number(doubling)} steps back in time, which makes "
        f"it {power(log10_growth)} times as large over {steps} steps (rate {horizon.rate:+.3g} per "
        "step)."
    )
