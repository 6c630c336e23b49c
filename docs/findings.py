"""Writes docs/findings.md, the rules and the remedies: ``python docs/findings.py``."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from carousel.diagnosis import remedies
from carousel.diagnosis._cures import CURES
from carousel.diagnosis.remedies import Remedy
from carousel.diagnosis.rules import RULES

HERE = Path(__file__).parent

HEAD = """# What is found, and what helps

This page is written by `python docs/findings.py` from the code. `carousel.diagnose` and
`carousel check` hold a flow against these rules, in this order; each finding has a severity, the
numbers that it rests on and the remedies that fit the layer. Without a lag nothing about memory is
an error. How often they are right is measured in [evidence.md](evidence.md).

| rule | what it finds | remedies |
|---|---|---|
"""

MIDDLE = """
Remedies of the weights change the model in place, those of the loop act while it trains; both can
be taken back. Where weights are worth keeping (`--trained`), only those that keep them are tried.

| remedy | what it does | changes | keeps weights |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rules = [
        f"| `{name}` | {sentence(documented(rule))} | {', '.join(CURES[name]) or '-'} |"
        for name, rule in RULES.items()
    ]
    kinds = {kind.name: kind for kind in classes()}
    lines = [
        f"| `{name}` | {sentence(inspect.getdoc(kind) or '')} | "
        f"{'weights' if kind.in_model else 'the loop'} | {'yes' if kind.keeps_weights else 'no'} |"
        for name, kind in sorted(kinds.items())
    ]
    return HEAD + "\n".join(rules) + "\n" + MIDDLE + "\n".join(lines) + "\n"


def documented(rule: object) -> str:
    """Of rules that share a file, the function says which; else the file says what it is about."""
    module = sys.modules[rule.__module__]
    alone = sum(each.__module__ == rule.__module__ for each in RULES.values()) == 1
    text = module.__doc__ if alone else rule.__doc__
    return text or ""


def sentence(text: str) -> str:
    """The first sentence, on one line."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", first)[0].replace("|", r"\|").replace("``", "`")


def classes() -> list[type[Remedy]]:
    """The remedies that can be made."""
    found = (getattr(remedies, name) for name in remedies.__all__)
    return [
        kind
        for kind in found
        if isinstance(kind, type) and issubclass(kind, Remedy) and hasattr(kind, "name")
    ]


if __name__ == "__main__":
    (HERE / "findings.md").write_text(page(), encoding="utf-8")
