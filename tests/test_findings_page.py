"""docs/findings.md is what its script writes from the code."""

from __future__ import annotations

import runpy
from pathlib import Path

from carousel.diagnosis.rules import RULES

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "findings.py"))["page"]()
    assert page == (DOCS / "findings.md").read_text(encoding="utf-8"), "run python docs/findings.py"


def test_every_rule_has_a_line_with_words() -> None:
    lines = (DOCS / "findings.md").read_text(encoding="utf-8").splitlines()
    for name in RULES:
        line = next(line for line in lines if line.startswith(f"| `{name}` |"))
        assert len(line.split("|")[2].split()) > 4
