"""From a flow to what is wrong with it."""

from __future__ import annotations

from carousel.diagnosis._finding import SEVERITIES, Finding
from carousel.diagnosis._subject import Subject
from carousel.diagnosis.rules import RULES
from carousel.flow import Flow

__all__ = ["diagnose"]


def diagnose(flow: Flow, lag: int | None = None) -> tuple[Finding, ...]:
    """What is wrong with the gradient's way through time, the worst first.

    Args:
        flow: of one backward pass.
        lag: the number of steps that the task needs, where it is known. Without it nothing about
            memory is an error.
    """
    subject = Subject(flow, lag)
    found = [finding for rule in RULES.values() for finding in rule(subject)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
