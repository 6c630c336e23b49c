"""Progress: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from carousel.cli._progress import announced, plain_lines


def test_plain_lines_are_few() -> None:
    out = io.StringIO()
    announce = plain_lines(Console(file=out, width=30))
    for done in range(101):
        announce("training [x]", done / 100, f"loss {done}, which is a rather long line")
    lines = out.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "training [x]: 25%",
        "training [x]: 50%",
        "training [x]: 75%",
        "training [x]: 100%",
    ]


def test_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with announced() as announce:
        announce("measuring", 1.0, "")
    out, err = capsys.readouterr()
    assert not out
    assert err == "measuring: 100%\n"


def test_bars_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with announced() as announce:
        announce("training", 0.5, "loss [1.0]")
        announce("training", 1.0, "done [1.0]")
    out, err = capsys.readouterr()
    assert not out
    assert "━" in err
    assert "done [1.0]" in err
