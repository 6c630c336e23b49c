"""The table that a notebook shows: well-formed, escaped, readable on any ground."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
import torch
from tests.report import flows
from torch import nn

import carousel
from carousel.flow import Flow, LayerFlow
from carousel.flow._notebook import HEIGHT, MARKS, WIDTH


def parsed(shown: object) -> ET.Element:
    """The HTML as XML, which it is where every element is closed and every text escaped."""
    return ET.fromstring(shown._repr_html_())  # noqa: S314 - what we wrote ourselves


def words(root: ET.Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


@pytest.mark.parametrize(
    "flow", [flows.categories, flows.tenth, flows.lstm, lambda: flows.called(3)]
)
def test_each_layer_has_a_row(flow: object) -> None:
    made = flow()
    root = parsed(made)
    rows = root.findall(".//tbody/tr")
    assert [row.find("th").text for row in rows] == list(made)
    assert len(parsed(next(iter(made.layers.values()))).findall(".//tbody/tr")) == 1


def test_numbers_at_both_ends() -> None:
    """A gradient of 10^-(lag) over 20 steps."""
    cells = ["".join(cell.itertext()) for cell in parsed(flows.tenth()).findall(".//tbody//td")]
    assert cells[-3:-1] == ["1.0×10⁻¹⁹", "1"]
    assert "20 × 1" in cells


def test_the_line_follows_the_logarithm() -> None:
    """A straight line from the lower left to the upper right."""
    path = parsed(flows.tenth()).find(".//path").attrib["d"]
    points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
    assert len(points) == 20
    (x0, y0), (x1, y1) = points[0], points[-1]
    assert (y0, y1) == (HEIGHT - 2, 2)
    assert 0 < x0 < x1 < WIDTH
    slopes = {round((b[1] - a[1]) / (b[0] - a[0]), 1) for a, b in pairwise(points)}
    assert len(slopes) == 1


def test_every_category_has_bars_of_its_own() -> None:
    bars = parsed(flows.categories()).findall(".//rect")
    assert {bar.attrib["fill"] for bar in bars} == set(MARKS.values())
    rows = {bar.attrib["fill"]: bar.attrib["y"] for bar in bars}
    assert len(set(rows.values())) == len(MARKS)


def test_no_colour_of_the_ground_is_assumed() -> None:
    html = flows.categories()._repr_html_()
    assert "background: none" in html
    assert "currentColor" in html
    assert not re.search(r"(?<!-)color: #", html)
    assert "<script" not in html
    assert "http" not in html


def test_names_and_notes_are_escaped() -> None:
    layer = flows.tenth()["rnn.l0"]
    trace = dataclasses.replace(layer.trace, name="<b>&", notes=("a < b & c",))
    root = parsed(Flow({"<b>&": LayerFlow(trace)}, ("more & <i>",)))
    assert root.find(".//tbody/tr/th").text == "<b>&"
    assert "a < b & c" in words(root)
    assert "more & <i>" in words(root)


def test_a_missed_certificate_stands_out() -> None:
    layer = flows.tenth()["rnn.l0"]
    trace = dataclasses.replace(layer.trace, certificate=float("nan"))
    assert "nan above its limit" in parsed(LayerFlow(trace)).find(".//strong").text
    assert parsed(layer).find(".//strong") is None


def test_zero_nan_and_nothing_in_words() -> None:
    rnn = nn.RNN(2, 3)
    x = torch.randn(5, 2, 2)
    zero = carousel.measure(rnn, lambda: 0 * rnn(x)[0].sum())
    nan = carousel.measure(rnn, lambda: float("nan") * rnn(x)[0].sum())
    for flow, word in ((zero, "zero"), (nan, "NaN")):
        cells = ["".join(cell.itertext()) for cell in parsed(flow).findall(".//tbody//td")]
        assert cells[-3:-1] == [word, word]


def test_long_sequences_stay_small() -> None:
    assert len(flows.one_nan_in(3000)._repr_html_()) < 8000


def test_a_flow_without_layers() -> None:
    assert "without layers" in Flow({})._repr_html_()
