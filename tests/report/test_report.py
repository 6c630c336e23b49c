"""The public class: what it takes, what it refuses, where it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.report import flows
from torch import nn

import carousel
from carousel import CarouselError
from carousel.report import Report


def test_it_is_public() -> None:
    assert carousel.Report is Report


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "at least one Flow"),
        ({"a": 3}, "got an int under 'a'"),
        (3, "got an int. carousel.measure"),
        (None, "got None. carousel.measure"),
        (nn.LSTM(2, 3), "got an LSTM. carousel.measure"),
        (carousel.watch(nn.LSTM(2, 3)), "got a Watcher. Pass watcher.flow"),
        ({"a": carousel.watch(nn.LSTM(2, 3))}, "Watcher under 'a'. Pass watcher.flow"),
        ({"a": carousel.Flow({})}, "an empty one"),
    ],
)
def test_what_is_no_flow_is_refused(wrong: Any, words: str) -> None:
    with pytest.raises(CarouselError, match=words):
        Report(wrong)


def test_a_layer_is_refused() -> None:
    model = nn.GRU(2, 3)
    flow = carousel.measure(model, lambda: model(torch.randn(4, 1, 2))[0].sum())
    with pytest.raises(CarouselError, match=r"got a LayerFlow\. A report is on a whole Flow"):
        Report(flow["l0"])  # type: ignore[arg-type]


def test_html_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    path = Report(flows.tenth()).to_html(str(tmp_path / "r.html"))
    assert path == tmp_path / "r.html"
    assert path.read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")


def test_an_unwritable_path_is_a_carousel_error(tmp_path: Path) -> None:
    with pytest.raises(CarouselError, match=r"cannot be written to .*nowhere"):
        Report(flows.tenth()).to_html(tmp_path / "nowhere" / "r.html")


def test_print_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Report(flows.tenth(), title="A title").print()
    out, err = capsys.readouterr()
    assert out.startswith("A title")
    assert not err


def test_faults() -> None:
    assert Report(flows.tenth()).faults == ()
    assert len(Report(flows.categories()).faults) == 1
