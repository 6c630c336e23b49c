"""Contraction by a small recurrent weight: a simple RNN that forgets whatever it is shown.

    ||dh_T/dh_t|| <= (gamma * sigma_1(W_hh))^(T - t),    gamma = max phi'

gamma is 1 for tanh, relu and the identity, and 1/4 for the sigmoid: a single sigmoid unit with
|w| < 4 always forgets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._gates import block
from carousel.diagnosis._numbers import LN10, number, power
from carousel.diagnosis._pieces import longest_piece
from carousel.diagnosis._subject import Subject

__all__ = ["contraction"]

STEEPEST = {"RNN tanh": 1.0, "RNN relu": 1.0, "RNN identity": 1.0, "RNN sigmoid": 0.25}
# What the bound leaves at the lag, in log10: as for vanishing, of which this is the proof.
LOG10_LITTLE_LEFT = -1.0
LOG10_NOTHING_LEFT = -3.0
SOURCE = "Pascanu, Mikolov & Bengio 2013, section 2.1: sigma_1 < 1/gamma is enough to vanish"


def contraction(subject: Subject) -> Iterator[Finding]:
    """A finding for each simple RNN whose gradient shrinks at every step, for any input."""
    for layer in subject.derived:
        gamma = STEEPEST.get(layer.kind)
        if gamma is None:
            continue
        weights = block(layer, "h")
        if not bool(weights.isfinite().all()):
            continue
        sigma = float(torch.linalg.matrix_norm(weights, 2))
        factor = gamma * sigma
        if factor >= 1:
            continue
        lag = longest_piece(layer) - 1 if subject.lag_steps is None else subject.lag_steps
        rate = math.log(factor) if factor else -math.inf
        log10_left = rate * lag / LN10
        if log10_left >= LOG10_LITTLE_LEFT:
            continue
        severe = subject.lag_steps is not None and log10_left < LOG10_NOTHING_LEFT
        known = subject.lag_steps is not None
        yield Finding(
            rule="contraction",
            severity="error" if severe else "warning" if known else "info",
            layer=layer.name,
            sentence=(
                f"The recurrent weight is too small: its largest singular value, {number(sigma)}, "
                f"times the steepest slope of {layer.kind.removeprefix('RNN ')}, {gamma:g}, is "
                f"{number(factor)}, so whatever the input, each step back leaves at most that part "
                f"of the gradient, and {lag} steps at most {power(log10_left)}."
            ),
            evidence={
                "largest_singular_value": sigma,
                "factor_per_step": factor,
                "horizon_at_most_steps": -1 / rate,
                "left_at_most_log10": log10_left,
                "lag_steps": float(lag),
            },
            threshold=1.0,
            source=SOURCE,
        )
