"""Tables and lines of code in a report: in the terminal, on the page, and as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

import carousel
from carousel.report._schema import DataTable

CODE = 'import carousel\n\nfor module in model.modules():\n    carousel.init.x(module, "<b>&")'
TABLE = DataTable("What was <tried>", ("remedy", "loss"), (("[bold]chrono", "0.1"), ("none", "1")))


def report() -> carousel.Report:
    lstm = nn.LSTM(2, 3)
    flow = carousel.measure(lstm, lambda: lstm(torch.ones(20, 2, 2))[0].sum())
    return carousel.Report(flow, tables=(TABLE,), code=CODE)


def test_on_the_page_both_are_text(tmp_path: Path) -> None:
    html = report().to_html(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "What was &lt;tried&gt;" in html
    assert '<th scope="row">[bold]chrono</th><td>0.1</td>' in html
    pasted = html.partition("<pre><code>")[2].partition("</code></pre>")[0]
    for mark, plain in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&amp;", "&")):
        pasted = pasted.replace(mark, plain)
    assert pasted == CODE


def test_in_the_terminal_no_line_of_code_is_wrapped() -> None:
    written = io.StringIO()
    report().print(Console(file=written, width=30, highlight=False))
    text = written.getvalue()
    assert "[bold]chrono" in text
    for line in CODE.splitlines():
        assert line in text.splitlines()


def test_as_json() -> None:
    data = json.loads(report().to_json())
    assert data["code"] == CODE
    assert data["tables"][0]["rows"] == [["[bold]chrono", "0.1"], ["none", "1"]]


def test_without_them_nothing_is_shown(tmp_path: Path) -> None:
    lstm = nn.LSTM(2, 3)
    flow = carousel.measure(lstm, lambda: lstm(torch.ones(20, 2, 2))[0].sum())
    html = carousel.Report(flow).to_html(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<pre>" not in html
    assert "to paste" not in html
