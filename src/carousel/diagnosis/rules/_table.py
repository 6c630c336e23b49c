"""All rules by name, in the order in which their findings are told: causes before consequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._subject import Subject
from carousel.diagnosis.rules._axes import axes
from carousel.diagnosis.rules._carry import carry
from carousel.diagnosis.rules._clipping import clipping
from carousel.diagnosis.rules._contraction import contraction
from carousel.diagnosis.rules._dead_relu import dead_relu
from carousel.diagnosis.rules._double_bias import double_chrono, double_forget_bias
from carousel.diagnosis.rules._forget_default import forget_default
from carousel.diagnosis.rules._growing import growing
from carousel.diagnosis.rules._injected_only import injected_only
from carousel.diagnosis.rules._non_normal import non_normal
from carousel.diagnosis.rules._nonfinite import nonfinite
from carousel.diagnosis.rules._padding import padding
from carousel.diagnosis.rules._saturated import saturated
from carousel.diagnosis.rules._stacked_orthogonal import stacked_orthogonal
from carousel.diagnosis.rules._starved import starved
from carousel.diagnosis.rules._truncation import truncation
from carousel.diagnosis.rules._underflow import underflow
from carousel.diagnosis.rules._vanishing import vanishing

__all__ = ["RULES", "Rule"]

Rule = Callable[[Subject], Iterable[Finding]]

RULES: dict[str, Rule] = {
    "nonfinite": nonfinite,
    "axes": axes,
    "padding": padding,
    "truncation": truncation,
    "carry": carry,
    "injected-only": injected_only,
    "vanishing": vanishing,
    "growing": growing,
    "forget-gate-default": forget_default,
    "contraction": contraction,
    "saturated": saturated,
    "dead-relu": dead_relu,
    "double-forget-bias": double_forget_bias,
    "double-chrono": double_chrono,
    "stacked-orthogonal": stacked_orthogonal,
    "starved": starved,
    "clipping": clipping,
    "underflow": underflow,
    "non-normal": non_normal,
}
