"""The report in a terminal: wide, narrow, without colour, without Unicode."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.report import flows

from carousel.flow import Flow
from carousel.report import Report
from carousel.report._schema import DataTable

BRAILLE = re.compile("[\u2801-\u28ff]")


def printed(
    report: Report, width: int = 80, *, encoding: str = "utf-8", terminal: bool = False
) -> str:
    """What the report prints on a terminal of that width."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    colours = "truecolor" if terminal else None
    console = Console(file=file, width=width, force_terminal=terminal, color_system=colours)
    report.print(console)
    file.flush()
    raw = file.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode(encoding)


def two() -> Report:
    return Report(
        {"a tenth": flows.tenth(), "an LSTM": flows.lstm()},
        title="Two",
        summary="The conclusion.",
        facts={"accuracy": {"an LSTM": 0.75}},
    )


@pytest.mark.parametrize("width", [40, 60, 100, 160])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_no_line_is_wider_than_the_terminal(width: int, encoding: str) -> None:
    for report in (two(), Report(flows.categories()), Report(flows.lstm(layers=3))):
        text = printed(report, width, encoding=encoding)
        assert max(map(cell_len, text.splitlines())) <= width


def test_a_layer_has_headline_chart_and_certificate() -> None:
    text = printed(Report(flows.lstm()), 100)
    assert str(flows.lstm()["l0"].horizon()) in " ".join(text.split())
    assert "LSTM, 5 units · 40 steps × 4 sequences · float32 on cpu" in text
    assert BRAILLE.search(text)
    assert "Certificate: the replay met the module's own output" in text
    for name in ("A ──── total dL/dh", "B ···· injected dL/dh", "C ─ ─  total dL/dc"):
        assert name in text


def test_the_axis_is_in_powers_of_ten_and_steps() -> None:
    text = printed(Report(flows.tenth()), 80)
    for label in ("10⁰", "10⁻¹⁰", "┤"):
        assert label in text
    (steps,) = (line for line in text.splitlines() if line.strip().startswith("step "))
    assert steps.split()[1] == "0"
    assert steps.split()[-1] == "19"


def test_several_flows_share_one_chart_and_one_table() -> None:
    text = printed(two(), 100)
    assert "A ──── a tenth   B ···· an LSTM" in text
    (row,) = (line for line in text.splitlines() if line.startswith("an LSTM "))
    assert "steps [" in row
    assert "0.75" in row
    assert text.index("Two") < text.index("The conclusion.") < text.index("a tenth: rnn.l0")


def test_without_details_only_what_concerns_all() -> None:
    out = io.StringIO()
    two().print(Console(file=out, width=80), details=False)
    assert "a tenth: rnn.l0" not in out.getvalue()
    assert "The conclusion." in out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_each_category_has_its_own_strip_and_its_own_glyph(encoding: str) -> None:
    text = printed(Report(flows.categories()), 80, encoding=encoding)
    strips = {}
    for line in text.splitlines():
        if found := re.match(r" *A (zero|underflow|infinite|NaN|padding)\b(.*)", line):
            strips[found[1]] = set(found[2]) - {" "}
    assert strips == {
        "zero": {"o"},
        "underflow": {"u"},
        "infinite": {"i"},
        "NaN": {"n"},
        "padding": {"-"},
    }
    for meaning in ("0 zero: ", "U underflow: ", "I infinite: ", "N NaN: ", "= padding: "):
        assert meaning in text


def test_a_category_in_every_sequence_has_the_capital_glyph() -> None:
    text = printed(Report(flows.one_nan_in(60)), 80)
    (strip,) = (line for line in text.splitlines() if line.startswith(" A NaN "))
    assert strip.count("N") - 1 >= 1
    assert "n" not in strip.split("NaN")[1]


@pytest.mark.parametrize("width", [60, 120])
def test_one_step_in_thousands_is_not_hidden(width: int) -> None:
    text = printed(Report(flows.one_nan_in(5000)), width)
    (strip,) = (line for line in text.splitlines() if line.startswith(" A NaN "))
    assert set(strip.split("NaN")[1]) <= {" ", "n"}
    assert "n" in strip.split("NaN")[1]


def test_only_categories_that_occur_are_explained() -> None:
    text = printed(Report(flows.lstm()), 80)
    for word in ("underflow", "infinite", "NaN", "padding"):
        assert word not in text


def test_a_pipe_gets_no_escape_codes() -> None:
    assert "\x1b" not in printed(two())
    assert "\x1b[" in printed(two(), terminal=True)


def test_without_unicode_everything_is_ascii() -> None:
    text = printed(Report(flows.categories(), title="Ünïcode · ×"), encoding="ascii")
    assert text.isascii()
    assert "1e0" in text
    assert "****" in text


def test_a_title_is_neither_markup_nor_control_codes() -> None:
    text = printed(Report(flows.tenth(), title="[red]x\x1b[2J[/red]\u202e"), terminal=True)
    assert "[red]x" in text
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_notes_are_printed() -> None:
    text = printed(Report(flows.called(3)), 100)
    assert "Note: The module was called 3 times; later calls begin at step 2, 4." in text


def test_faults_stand_out() -> None:
    report = Report(flows.categories())
    assert f"WRONG: {report.faults[0]}" in printed(report, 200)


@pytest.mark.parametrize("steps", [1, 2, 5000])
def test_any_length(steps: int) -> None:
    flow: Flow = flows.tenth(steps)
    text = printed(Report(flow), 60)
    assert "A" in text
    assert f"{steps - 1}" in text


@pytest.mark.parametrize("width", [50, 60, 70, 80])
def test_no_number_is_broken_over_two_lines(width: int) -> None:
    """Not even one with a no-break space in it, which rich takes for a place to break at."""
    row = ("a network, untrained", "263.4 steps [71.3,\N{NO-BREAK SPACE}4\N{NO-BREAK SPACE}068]")
    cells = (*row, "2.4×10⁻⁴⁰⁰", "123\N{NO-BREAK SPACE}456", "reaches 97.5 %")
    table = DataTable("Numbers", ("layer", "horizon", "begins", "updates", "accuracy"), (cells,))
    text = printed(Report(flows.lstm(), tables=(table,)), width)
    words = text.split()
    for number in ("263.4", "[71.3,", "4068]", "2.4×10⁻⁴⁰⁰", "123456", "97.5"):
        assert number in words, number
