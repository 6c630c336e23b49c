"""From findings, which hold what can be applied, to the schema, which holds plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from carousel.diagnosis import Finding
from carousel.report._schema import FindingSummary, Measured, Number, RemedySummary

__all__ = ["finding_summaries", "tally"]


def finding_summaries(findings: Sequence[Finding]) -> tuple[FindingSummary, ...]:
    """The findings in the order in which they came, the worst first."""
    return tuple(
        FindingSummary(
            rule=finding.rule,
            severity=finding.severity,
            layer=finding.layer,
            sentence=finding.sentence,
            evidence=_measured(finding.evidence),
            threshold=finding.threshold,
            source=finding.source,
            remedies=tuple(
                RemedySummary(
                    name=remedy.name,
                    sentence=remedy.sentence(),
                    code=remedy.code(),
                    keeps_weights=remedy.keeps_weights,
                )
                for remedy in finding.remedies
            ),
        )
        for finding in findings
    )


def tally(findings: Sequence[Finding], lag_steps: int | None) -> str:
    """How many findings of each severity there are, and what memory was held against."""
    counts = [
        f"{count} {word}{'s' * (count > 1)}"
        for word, count in (
            ("error", sum(finding.severity == "error" for finding in findings)),
            ("warning", sum(finding.severity == "warning" for finding in findings)),
            ("remark", sum(finding.severity == "info" for finding in findings)),
        )
        if count
    ]
    said = ", ".join(counts) if counts else "nothing found"
    if lag_steps is None:
        return f"Diagnosis: {said}. No lag was given, so nothing about memory counts as an error."
    return f"Diagnosis for a task that needs {lag_steps} steps: {said}."


def _measured(evidence: Mapping[str, float]) -> tuple[Measured, ...]:
    return tuple(Measured(name, _named(value)) for name, value in evidence.items())


def _named(value: float) -> Number:
    """A number as the schema states it; what is not one goes by its name, with its sign."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    return float(value)
