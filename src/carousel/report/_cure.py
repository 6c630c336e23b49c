"""What ``carousel fix`` found, tried and kept, as a report and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from carousel.diagnosis import Cure, Finding, Outcome, Reading, Trial
from carousel.flow import Flow, Horizon
from carousel.report._findings import finding_summaries
from carousel.report._report import Report
from carousel.report._schema import DataTable

__all__ = ["cure_json", "cure_report"]

SCHEMA = 2  # of the JSON; raised whenever a field changes its name or its meaning


def cure_report(cure: Cure, title: str) -> Report:
    """A report: the table of what was tried, the lines to paste, and both flows side by side."""
    flows: Flow | dict[str, Flow] = cure.flow
    findings: Sequence[Finding] | dict[str, Sequence[Finding]] = cure.findings
    if cure.best is not None:
        findings = {"as it came": cure.findings}
        flows = {
            "as it came": cure.flow,
            "without": cure.best.before.last.flow,
            f"with {cure.best.remedy.name}": cure.best.after.last.flow,
        }
    return Report(
        flows,
        title=title,
        summary=cure.summary,
        facts={"Lag": f"{cure.lag_steps} steps", "Each trial": cure.training},
        findings=findings,
        tables=_tables(cure),
        code=cure.code,
    )


def _tables(cure: Cure) -> tuple[DataTable, ...]:
    tables = []
    if cure.outcomes:
        header = ("remedy", "at", "horizon", f"gradient at lag {cure.lag_steps}", "loss")
        tables.append(DataTable("What was tried", header, _rows(cure)))
        verdicts = tuple(
            (each.remedy.name, "kept" if each.kept else "reverted", each.reason)
            for each in cure.outcomes
        )
        tables.append(DataTable("What came of it", ("remedy", "verdict", "because"), verdicts))
    if cure.refused:
        rows = tuple((each.remedy.name, each.reason) for each in cure.refused)
        tables.append(DataTable("What could not be tried", ("remedy", "reason"), rows))
    return tuple(tables)


def _rows(cure: Cure) -> tuple[tuple[str, ...], ...]:
    """The training without a remedy once, and that with each."""
    rows: list[tuple[str, ...]] = []
    for number, outcome in enumerate(cure.outcomes):
        for row in outcome.rows:
            if row.training == "without" and number > 0:
                continue
            name = "none" if row.training == "without" else outcome.remedy.name
            rows.append((name, row.moment, row.horizon, row.at_lag, row.loss))
    return tuple(rows)


def cure_json(cure: Cure, title: str) -> str:
    """The same as strict JSON: what is not a number is named, never written as NaN."""
    data = {
        "schema": SCHEMA,
        "title": title,
        "summary": cure.summary,
        "lag_steps": cure.lag_steps,
        "lag_given": cure.lag_given,
        "training": cure.training,
        "healthy": cure.healthy,
        "cured": cure.cured,
        "findings": [asdict(finding) for finding in finding_summaries(cure.findings)],
        "tried": [_outcome(outcome) for outcome in cure.outcomes],
        "refused": [{"remedy": each.remedy.name, "reason": each.reason} for each in cure.refused],
        "best": None if cure.best is None else cure.best.remedy.name,
        "code": cure.code,
    }
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "remedy": outcome.remedy.name,
        "layer": outcome.layer,
        "sentence": outcome.remedy.sentence(),
        "kept": outcome.kept,
        "reason": outcome.reason,
        "without": _trial(outcome, outcome.before),
        "with": _trial(outcome, outcome.after),
        "code": outcome.remedy.code(),
    }


def _trial(outcome: Outcome, trial: Trial) -> dict[str, Any]:
    return {
        "first": _reading(outcome, trial.first),
        "last": _reading(outcome, trial.last),
        "final_loss": _number(trial.final_loss),
        "losses": [_number(loss) for loss in trial.losses],
        "ended": trial.ended,
        "elapsed_seconds": trial.elapsed_seconds,
    }


def _reading(outcome: Outcome, reading: Reading) -> dict[str, Any]:
    horizon: Horizon = reading.layer(outcome.layer).horizon()
    at_lag = None
    if outcome.lag_steps is not None:
        at_lag = _number(reading.log10_at_lag(outcome.layer, outcome.lag_steps))
    return {
        "step": reading.step,
        "loss": _number(reading.loss),
        "horizon_kind": horizon.kind,
        "rate_per_step": _number(horizon.rate),
        "horizon_steps": None if horizon.steps is None else _number(horizon.steps),
        "log10_gradient_at_lag": at_lag,
    }


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
