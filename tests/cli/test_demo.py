"""``carousel demo``, cut short."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.report import flows

from carousel.cli._side_by_side import change, course
from carousel.report import Report


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with small networks and little training."""
    return subprocess.run(
        [sys.executable, "-m", "carousel", "demo", "--hidden", "8", "--seconds", "1", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_json(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    done = demo(tmp_path, "--json", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    report: Any = json.loads(done.stdout)
    assert [flow["name"] for flow in report["flows"]] == [
        "tanh RNN",
        "LSTM",
        "tanh RNN, untrained",
        "LSTM, untrained",
    ]
    for flow in report["flows"]:
        (layer,) = flow["layers"]
        assert layer["hidden"] == 8
        assert layer["certificate"]["within"]
        # The loss is on the last step alone: nothing is injected anywhere else.
        injected = next(s for s in layer["series"] if s["quantity"] == "d_h_injected")
        assert set(injected["largest"][:-1]) == {"zero"}
        assert injected["largest"][-1] != "zero"
    for flow in report["flows"][:2]:
        assert "accuracy" in {fact["label"] for fact in flow["facts"]}
    assert "the lines compare" in {fact["label"] for fact in report["facts"]}
    assert report["summary"].startswith("The gradient of the last step's loss")
    for words in ("training the tanh RNN", "training the LSTM", "page.html"):
        assert words in done.stderr
    assert "\x1b" not in done.stderr
    assert (tmp_path / "page.html").exists()


def test_text_output_and_the_default_page(tmp_path: Path) -> None:
    done = demo(tmp_path, "--data", "text")
    assert done.returncode == 0, done.stderr
    assert "A tanh RNN and an LSTM of 8 units, side by side" in done.stdout
    assert "B ···· LSTM" in done.stdout
    assert "bits per character" in done.stdout
    page = tmp_path / "carousel-demo.html"
    assert f"HTML report: {page.resolve()}" in done.stdout
    assert page.exists()
    assert "tanh RNN: recurrent.l0" not in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--data", "nonsense"], ["--hidden", "0"], ["--seconds", "-1"]]
)
def test_wrong_usage_leaves_with_2(tmp_path: Path, arguments: list[str]) -> None:
    assert demo(tmp_path, *arguments).returncode == 2


@pytest.mark.parametrize(
    ("log10_ratio", "said"),
    [
        (-13.28, "shrinks by 13.3 powers of ten"),
        (2.0, "grows by 2.0 powers of ten"),
        (-math.log10(4.4), "shrinks by 0.6 powers of ten"),
        (math.log10(1.5), "grows by 0.2 powers of ten"),
        (-0.04, "keeps its size"),
        (-math.inf, "becomes exactly zero"),
        (math.nan, "is not a number"),
    ],
)
def test_change(log10_ratio: float, said: str) -> None:
    assert change(log10_ratio) == said


def test_the_course_is_taken_from_last_to_first() -> None:
    assert course(flows.tenth(20)) == "shrinks by 19.0 powers of ten"
    assert Report(flows.tenth(20)).data.flows[0].layers[0].at_first_step == pytest.approx(-19)
