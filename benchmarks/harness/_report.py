"""What came of the groups, against their targets: a table to read, a file to keep."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from harness._groups import Group, Row, Target
from harness._machine import described

__all__ = ["Figure", "exit_code", "print_summary", "save"]


@dataclass(frozen=True)
class Figure:
    """One figure of a group over its rows, and what became of its target."""

    group: str
    label: str
    rows: int
    mean: float | None  # geometric; None: not measured
    worst: float | None
    worst_row: str
    target: str
    verdict: str  # pass, MISS, not measured, or nothing without a target


def print_summary(measured: dict[Group, list[Row]]) -> list[Figure]:
    """Print geometric means, worst rows and verdicts of all figures."""
    figures = [figure for group, rows in measured.items() for figure in _figures(group, rows)]
    print("\n### Against the targets\n")
    print("| group | figure | rows | geometric mean | worst row | target | verdict |")
    print("|---|---|--:|--:|---|---|---|")
    for figure in figures:
        if figure.mean is not None:
            numbers = f"{figure.mean:.2f} | {figure.worst:.2f} at {figure.worst_row}"
        else:
            numbers = "- | -"
        print(
            f"| {figure.group} | {figure.label} | {figure.rows} | {numbers} | "
            f"{figure.target} | {figure.verdict} |"
        )
    return figures


def save(path: Path, measured: dict[Group, list[Row]], figures: list[Figure]) -> None:
    """Write everything that was measured as JSON."""
    content = {
        "machine": described(),
        "groups": {
            group.name: {
                "title": group.title,
                "rows": [asdict(row) for row in rows],
                "whole": group.whole(rows),
            }
            for group, rows in measured.items()
        },
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def exit_code(failures: list[str]) -> int:
    """1 if a row failed its check; what is slow is told, and is no failure of the command."""
    if failures:
        print(f"\n**{len(failures)} rows failed and were not timed:**\n")
        for failure in failures:
            print(f"- {failure}")
    return 1 if failures else 0


def _figures(group: Group, rows: list[Row]) -> list[Figure]:
    """Those with a target first, then the ratios that have none."""
    figures = [_figure(group, rows, target) for target in group.targets]
    aimed = {target.label for target in group.targets}
    labels = dict.fromkeys(label for row in rows for label in row.ratios if label not in aimed)
    return figures + [_figure(group, rows, Target(label, rows="")) for label in labels]


def _figure(group: Group, rows: list[Row], target: Target) -> Figure:
    found = [
        (value, str(row.shape))
        for row in rows
        if target.where(row.shape) and (value := row.figure(target.label)) is not None
    ]
    whole = group.whole(rows)
    if target.label in whole:
        found = [(whole[target.label], "all rows")]
    described_target = _described(target)
    if not found:
        return Figure(group.name, target.label, 0, None, None, "", described_target, "not measured")
    mean = math.exp(sum(math.log(value) for value, _ in found) / len(found))
    pick: Callable[..., tuple[float, str]] = max if target.at_most else min
    worst, worst_row = pick(found)
    verdict = _verdict(target, mean, [value for value, _ in found])
    return Figure(
        group.name, target.label, len(found), mean, worst, worst_row, described_target, verdict
    )


def _verdict(target: Target, mean: float, values: list[float]) -> str:
    def meets(value: float, bound: float) -> bool:
        return value <= bound if target.at_most else value >= bound

    if target.mean is None and target.each is None:
        return ""
    misses = [] if target.each is None else [v for v in values if not meets(v, target.each)]
    parts = ["mean"] if target.mean is not None and not meets(mean, target.mean) else []
    parts += [f"{len(misses)} of {len(values)} rows"] if misses else []
    return f"MISS ({', '.join(parts)})" if parts else "pass"


def _described(target: Target) -> str:
    sign = "<=" if target.at_most else ">="
    bounds = [
        f"{name} {sign} {bound:g}"
        for name, bound in (("mean", target.mean), ("each", target.each))
        if bound is not None
    ]
    return f"{', '.join(bounds)} ({target.rows})" if bounds else ""
