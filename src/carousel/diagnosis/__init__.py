"""Opinions about flows: what is wrong, by which threshold, and what can be done about it."""

from carousel.diagnosis._diagnose import diagnose
from carousel.diagnosis._finding import Finding, Severity
from carousel.diagnosis._fix import Cure, Refused, fix
from carousel.diagnosis._outcome import Outcome
from carousel.diagnosis._subject import ClippingRecord
from carousel.diagnosis._trial import Reading, Trial
from carousel.diagnosis._verify import Proof, verify
from carousel.diagnosis.remedies import Applied, Remedy

__all__ = [
    "Applied",
    "ClippingRecord",
    "Cure",
    "Finding",
    "Outcome",
    "Proof",
    "Reading",
    "Refused",
    "Remedy",
    "Severity",
    "Trial",
    "diagnose",
    "fix",
    "verify",
]
