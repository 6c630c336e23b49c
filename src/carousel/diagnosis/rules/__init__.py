"""The rules, one a file: pure functions from a flow to findings, in one table."""

from carousel.diagnosis.rules._table import RULES

__all__ = ["RULES"]
