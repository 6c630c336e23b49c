"""The forget gate at its default: the carousel alone forgets in a few steps.

    dc_n/dc_0 = f^n along the carousel,    f = sigmoid(b_f),    horizon = -1 / ln f

torch draws both biases from U(+-1/sqrt(H)), so b_f is about 0 and f about 0.5: 1.4 steps. Keras
sets b_f = 1, f = 0.731: 3.2 steps. The update gate z of a GRU keeps its state in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._gates import Keeping, keeping_of
from carousel.diagnosis._numbers import LN10, power
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow
from carousel.theory import ForgetGate, forget_gate

__all__ = ["forget_default"]

# Both of torch's biases lie within 1/sqrt(H), so a default in total lies within 2/sqrt(H) of 0.
# Training moves biases little beside that; a tenth is allowed for it.
MOVED = 0.1
# What is left of the carousel at the lag, in log10: one in ten, as for vanishing.
LOG10_LITTLE_LEFT = -1.0
# The gates' mean activation may stand so far from sigmoid(b), before the sigmoid: beyond that it
# is the inputs and the recurrent weights that set them, and not the default.
AWAY = 0.5
SOURCES = {
    0.0: "PyTorch draws both biases from U(-1/sqrt(H), 1/sqrt(H)); Gers, Schmidhuber & Cummins "
    "2000; Jozefowicz, Zaremba & Sutskever 2015",
    1.0: "keras#16151: gradient ratios .735 .734 .735 at each step are sigma(1) = .731, the unit "
    "forget bias of Jozefowicz, Zaremba & Sutskever 2015",
}


def forget_default(subject: Subject) -> Iterator[Finding]:
    """A finding for each gated layer whose keeping gate is where a default left it."""
    for layer in subject.derived:
        keeping = keeping_of(layer)
        if keeping is None or not len(keeping.factor):
            continue
        default = _default(layer, keeping)
        if default is None:
            continue
        gate = forget_gate(float(keeping.bias.mean()))
        lag = subject.lag_steps
        log10_left = gate.log_f * (layer.steps - 1 if lag is None else lag) / LN10
        if log10_left >= LOG10_LITTLE_LEFT:
            continue
        fades = layer.horizon().kind in ("decaying", "zero")  # else the gates' ways carry it
        evidence = {
            "forget_bias": gate.bias,
            "factor_per_step": gate.f,
            "gate_mean": float(keeping.factor.mean()),
            "horizon_steps": gate.horizon_steps,
            "left_log10": log10_left,
        }
        if lag is not None:
            evidence["lag_steps"] = float(lag)
        yield Finding(
            rule="forget-gate-default",
            severity="info" if lag is None or not fades else "warning",
            layer=layer.name,
            sentence=_sentence(keeping, default, gate, (lag, log10_left)),
            evidence=evidence,
            threshold=LOG10_LITTLE_LEFT,
            source=SOURCES[default],
        )


def _default(layer: LayerFlow, keeping: Keeping) -> float | None:
    """Which default the biases were drawn around, 0 or 1; None for neither."""
    centre = float(round(float(keeping.bias.mean())))
    if centre not in SOURCES:
        return None
    # The mean of H sums of two such draws has the standard deviation sqrt(2/3) / H.
    if abs(float(keeping.bias.mean()) - centre) > MOVED + 3 * math.sqrt(2 / 3) / layer.hidden:
        return None
    spread = 2 / math.sqrt(layer.hidden) + MOVED
    if float((keeping.bias - centre).abs().max()) > spread:
        return None
    mean = min(max(float(keeping.factor.mean()), 1e-12), 1 - 1e-12)
    return centre if abs(math.log(mean / (1 - mean)) - centre) <= AWAY else None


def _sentence(
    keeping: Keeping, default: float, gate: ForgetGate, at: tuple[int | None, float]
) -> str:
    lag, log10_left = at
    whose = "unit forget bias" if default else "PyTorch's default"
    said = (
        f"The {keeping.word} stand at sigma({gate.bias:.1g}) = {gate.f:.3f} ({whose}): along the "
        f"carousel each step back multiplies the gradient by that, so its horizon is "
        f"{gate.horizon_steps:.1f} steps"
    )
    if lag is None:
        return f"{said}."
    return f"{said}; at the {lag} that your task needs, {power(log10_left)} of it is left."
