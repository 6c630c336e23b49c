"""``carousel bench``: what it says about the code that runs, and how it compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import carousel
from carousel.cells._native import status, threads
from carousel.cli import app
from carousel.cli._bench import LAYERS


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carousel.cli._bench.SHAPES", ((3, 2, 2, 4), (5, 1, 3, 2)))


def test_info_says_what_runs() -> None:
    done = bench("--info")
    assert done.exit_code == 0, done.output
    facts = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    facts = {name: fact.strip() for name, fact in facts.items()}
    assert facts["carousel"] == carousel.__version__
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(threads())
    if status().loaded:
        assert facts["runs on"] == f"native core ({status().target})"
        assert facts["library"] == str(status().path)
        assert facts["float64"] == "native core"
    else:
        assert facts["runs on"] == "plain equations"
        assert facts["why not the native core"] == status().reason


def test_info_says_why_the_native_core_does_not_run() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "carousel", "bench", "--info", "--json"],
        env=os.environ | {"CAROUSEL_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    info = json.loads(done.stdout)
    assert info["path"] == "plain equations"
    assert info["target"] is None
    assert info["reason"] == "It was switched off by CAROUSEL_NATIVE=0."
    assert info["dtypes"]["float32"] == "plain equations"
    assert "rows" not in info


@pytest.mark.usefixtures("_small")
def test_every_layer_is_compared_in_every_shape() -> None:
    done = bench("--rounds", "2", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    shapes = [(row["steps"], row["batch"], row["inputs"], row["hidden"]) for row in rows]
    assert shapes == [(3, 2, 2, 4)] * 3 + [(5, 1, 3, 2)] * 3
    assert [row["layer"] for row in rows] == [*LAYERS] * 2
    assert all(row["agrees"] for row in rows)
    assert all(min(row["torch_ms"], row["carousel_ms"], row["ratio"]) > 0 for row in rows)


@pytest.mark.usefixtures("_small")
def test_the_ratio_of_one_round_is_torchs_time_over_ours() -> None:
    for row in json.loads(bench("--rounds", "1", "--json").stdout)["rows"]:
        assert row["ratio"] == pytest.approx(row["torch_ms"] / row["carousel_ms"])


@pytest.mark.usefixtures("_small")
def test_the_table_has_a_line_for_each_comparison() -> None:
    done = bench("--rounds", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("agree") == 6
    assert "torch, ms" in done.stdout


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("share", [1.001, float("nan")])
def test_other_results_leave_with_1(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class Off(nn.GRU):
        def forward(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
            output, h_n = super().forward(*arguments)
            return output * share, h_n

    monkeypatch.setattr(carousel, "GRU", Off)
    done = bench("--rounds", "1", "--json")
    assert done.exit_code == 1
    rows = json.loads(done.stdout)["rows"]
    assert [row["agrees"] for row in rows] == [True, True, False] * 2
