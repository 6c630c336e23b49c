"""The report as strict JSON: what is not a number is named, never written as NaN or Infinity."""

from __future__ import annotations

import json
from dataclasses import asdict

from carousel.report._schema import ReportData

__all__ = ["to_json"]


def to_json(data: ReportData) -> str:
    """The whole schema as one line of JSON, in ASCII."""
    return json.dumps(asdict(data), allow_nan=False, separators=(",", ":"))
