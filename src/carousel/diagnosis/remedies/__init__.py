"""Remedies: what a finding proposes, one a file."""

from carousel.diagnosis.remedies._remedy import Applied, Remedy

__all__ = ["Applied", "Remedy"]
