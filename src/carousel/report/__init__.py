"""Reports: flows made readable in a terminal, on a page, and as JSON."""

from carousel.report._cure import cure_json, cure_report
from carousel.report._findings import tally
from carousel.report._report import Report
from carousel.report._schema import Level
from carousel.report._summary import level

__all__ = ["Level", "Report", "cure_json", "cure_report", "level", "tally"]
