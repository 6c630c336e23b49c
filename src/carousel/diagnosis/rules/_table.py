"""All rules by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._subject import Subject

__all__ = ["RULES", "Rule"]

Rule = Callable[[Subject], Iterable[Finding]]

RULES: dict[str, Rule] = {}
