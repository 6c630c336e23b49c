"""NaN or infinity, with the place where it first arises in the order of computation."""

from __future__ import annotations

from collections.abc import Iterator

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._subject import Subject

__all__ = ["nonfinite"]

SOURCE = "pytorch#65301: NaN somewhere inside the RNN, and no way to see where"


def nonfinite(subject: Subject) -> Iterator[Finding]:
    """One finding, at the first place; what is not finite later follows from it."""
    found = subject.flow.nonfinite
    if not found:
        return
    first = found[0]
    others = dict.fromkeys(other.layer for other in found[1:] if other.layer != first.layer)
    yield Finding(
        rule="nonfinite",
        severity="error",
        layer=first.layer,
        sentence=str(first),
        evidence={
            "step": float(first.step),
            "sequence": float(first.sequence),
            "layers_later": float(len(others)),
        },
        threshold=None,
        source=SOURCE,
    )
