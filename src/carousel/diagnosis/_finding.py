"""A Finding: one opinion about a Flow, with what it rests on and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from carousel.diagnosis.remedies import Remedy

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["info", "warning", "error"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")  # the worst first


@dataclass(frozen=True)
class Finding:
    """One opinion about a Flow: evidence, threshold, source and remedies. ``str()`` is a sentence.

    Attributes:
        rule: which rule found it, such as "vanishing".
        severity: "error" where it keeps the model from what it is for, "warning" where it is likely
            a mistake, "info" where it is worth knowing.
        layer: the name of a layer in the flow; "" for the flow as a whole.
        sentence: plain words, with the numbers in them.
        evidence: numbers by name, the unit in the name, such as "horizon_steps".
        threshold: what the deciding number was held against; None where nothing is compared.
        source: the paper or issue, or the reason.
        remedies: what can be done, the plainest first; ``fix`` measures which promises most.
    """

    rule: str
    severity: Severity
    layer: str
    sentence: str
    evidence: Mapping[str, float]
    threshold: float | None
    source: str
    remedies: tuple[Remedy, ...] = ()

    def __str__(self) -> str:
        place = f"{self.layer}: " if self.layer else ""
        return f"{self.severity}: {place}{self.sentence}"
