"""The rules, one a file: pure functions from a flow to findings, in one table."""

from carousel.diagnosis.rules._saturated import END, lower_end
from carousel.diagnosis.rules._table import RULES

__all__ = ["END", "RULES", "lower_end"]
