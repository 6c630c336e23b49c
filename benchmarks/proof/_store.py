"""Results as lines of JSON: a run that was broken off goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Store"]


class Store:
    """One line for each case, written when the case is done.

    Args:
        path: of the file, which need not exist.
        recipe: what the results depend on beside the case; lines with another one are not read.
    """

    def __init__(self, path: Path, recipe: str) -> None:
        self.path = path
        self.recipe = recipe
        self.rows: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = whole_line(line)
                if row is not None and row["recipe"] == recipe:
                    self.rows[row["case"]] = row

    def drop(self, part: str) -> None:
        """Forget all cases of a part, on the disk too."""
        self.rows = {
            case: row for case, row in self.rows.items() if not case.startswith(f"{part}:")
        }
        kept = [json.dumps(row) + "\n" for row in self.rows.values()]
        self.path.write_text("".join(kept), encoding="utf-8")

    def __contains__(self, case: str) -> bool:
        return case in self.rows

    def add(self, case: str, values: Mapping[str, Any]) -> None:
        """Keep what a case gave; it is on the disk when this returns."""
        row = {"case": case, "recipe": self.recipe, **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[case] = row


def whole_line(line: str) -> dict[str, Any] | None:
    """The row of a line; None for one that was broken off in the middle."""
    try:
        row: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row
