"""Which remedies answer which finding, the most promising first. The one place that says so."""

from __future__ import annotations

from collections.abc import Callable

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._subject import Subject
from carousel.diagnosis.remedies import Remedy

__all__ = ["CURES", "MAKERS", "Maker", "remedies_for"]

Maker = Callable[[Finding, Subject], Remedy | None]  # None where it does not fit the layer

CURES: dict[str, tuple[str, ...]] = {
    "nonfinite": ("clip", "dtype"),
    "axes": (),
    "padding": (),
    "truncation": ("truncation-length",),
    "carry": ("carry-state",),
    "injected-only": ("carry-state",),
    "vanishing": ("chrono", "forget-bias", "orthogonal", "identity", "lstm", "omega", "flossing"),
    "growing": ("clip", "orthogonal", "flossing"),
    "forget-gate-default": ("chrono", "forget-bias"),
    "contraction": ("orthogonal", "identity", "lstm"),
    "saturated": ("chrono", "forget-bias", "orthogonal"),
    "dead-relu": ("identity",),
    "double-forget-bias": ("forget-bias",),
    "double-chrono": ("chrono",),
    "stacked-orthogonal": ("orthogonal",),
    "starved": ("orthogonal",),
    "clipping": ("clip",),
    "underflow": ("dtype",),
    "non-normal": ("orthogonal",),
}

MAKERS: dict[str, Maker] = {}


def remedies_for(finding: Finding, subject: Subject) -> tuple[Remedy, ...]:
    """The remedies of a finding that can be made, in the order of the table."""
    makers = [MAKERS[name] for name in CURES[finding.rule] if name in MAKERS]
    made = [maker(finding, subject) for maker in makers]
    return tuple(remedy for remedy in made if remedy is not None)
