"""Reports: flows made readable in a terminal, on a page, and as JSON."""

from carousel.report._cure import cure_json, cure_report
from carousel.report._findings import tally
from carousel.report._report import Report
from carousel.report._schema import (
    FindingSummary,
    LayerSummary,
    Level,
    Measured,
    RemedySummary,
    ReportData,
)
from carousel.report._summary import ELSEWHERE, cell_categories, cells, level
from carousel.report._words import (
    certificate_sentence,
    course_sentence,
    horizon_in_short,
    identity,
    norm,
    notes,
)

__all__ = [
    "ELSEWHERE",
    "FindingSummary",
    "LayerSummary",
    "Level",
    "Measured",
    "RemedySummary",
    "Report",
    "ReportData",
    "cell_categories",
    "cells",
    "certificate_sentence",
    "course_sentence",
    "cure_json",
    "cure_report",
    "horizon_in_short",
    "identity",
    "level",
    "norm",
    "notes",
    "tally",
]
