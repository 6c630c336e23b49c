"""Opinions about flows: what is wrong, by which threshold, and what can be done about it."""

from carousel.diagnosis._diagnose import diagnose
from carousel.diagnosis._finding import Finding, Severity
from carousel.diagnosis.remedies import Applied, Remedy

__all__ = ["Applied", "Finding", "Remedy", "Severity", "diagnose"]
