"""Findings in all three forms of the report."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console
from tests.report import flows
from torch import nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import Applied, Finding, Remedy
from carousel.diagnosis.remedies import Chrono, ForgetBias, Orthogonal
from carousel.report import Report, tally

SENTENCE = "The gradient is 10^-29 of it <b>[red]\x1b[2J."


@dataclass(frozen=True)
class Cure(Remedy):
    """A remedy that says something and does nothing."""

    name: ClassVar[str] = "chrono"
    keeps_weights: ClassVar[bool] = False
    in_model: ClassVar[bool] = True

    def sentence(self) -> str:
        return "Sets the biases."

    def code(self) -> str:
        return 'carousel.init.chrono_(model, 200)\nprint("<&>")'

    def apply(self, model: nn.Module) -> Applied:
        raise NotImplementedError


FINDING = Finding(
    rule="vanishing",
    severity="error",
    layer="l0",
    sentence=SENTENCE,
    evidence={"rate_per_step": -0.5, "left_log10": -math.inf, "gate": math.nan, "up": math.inf},
    threshold=-3.0,
    source="Somebody 1991",
    remedies=(Cure("l0"),),
)
INFO = replace(FINDING, severity="info", rule="underflow", remedies=(), threshold=None)


def reported(*findings: Finding) -> Report:
    return Report(flows.lstm(), findings=findings)


def printed(report: Report, width: int = 100, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    report.print(Console(file=file, width=width))
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def page(report: Report, folder: Path) -> str:
    return report.to_html(folder / "r.html").read_text(encoding="utf-8")


def test_json_names_what_is_no_number() -> None:
    (flow,) = json.loads(reported(FINDING).to_json())["flows"]
    (finding,) = flow["findings"]
    assert finding["rule"] == "vanishing"
    assert finding["severity"] == "error"
    assert finding["threshold"] == -3.0
    assert {m["name"]: m["value"] for m in finding["evidence"]} == {
        "rate_per_step": -0.5,
        "left_log10": "minus infinite",
        "gate": "nan",
        "up": "infinite",
    }
    assert finding["remedies"] == [
        {
            "name": "chrono",
            "sentence": "Sets the biases.",
            "code": 'carousel.init.chrono_(model, 200)\nprint("<&>")',
            "keeps_weights": False,
        }
    ]


def test_the_terminal_shows_severity_sentence_numbers_and_code() -> None:
    text = printed(reported(FINDING, INFO))
    assert "ERROR  vanishing · l0" in text
    assert "REMARK  underflow · l0" in text
    assert text.index("ERROR") < text.index("REMARK") < text.index("Certificate")
    assert "rate per step -0.5 · left log10 minus infinite" in text
    assert "held against -3. Somebody 1991." in " ".join(text.split())
    assert "Try chrono: Sets the biases." in text
    assert "    carousel.init.chrono_(model, 200)\n" in text
    assert "\x1b" not in text
    assert "[red]" in text


def test_the_terminal_shows_the_code_of_the_first_remedy_only_and_once() -> None:
    other = replace(FINDING, severity="warning", rule="forget-gate-default")
    first = replace(FINDING, remedies=(Cure("l0"), Orthogonal("l0"), ForgetBias("l0")))
    text = printed(reported(first, other))
    assert text.count("carousel.init") == 1
    assert "Or else: orthogonal, forget-bias.\n" in text
    assert text.count("Try chrono: Sets the biases.") == 1
    assert text.count("Try chrono, as above.") == 1


def test_a_line_of_code_is_not_wrapped_and_has_no_blanks_at_its_end() -> None:
    text = printed(reported(replace(FINDING, remedies=(Chrono("l0", 200),))), width=40)
    assert (
        "\n\n    carousel.init.chrono_(model, 200, torch.Generator().manual_seed(0), "
        'layer="l0")\n' in text
    )


@pytest.mark.parametrize("width", [40, 100])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_line_is_wider_than_the_terminal(width: int, encoding: str) -> None:
    text = printed(reported(FINDING, INFO), width, encoding)
    assert max(map(len, text.splitlines())) <= width


def test_very_many_are_not_all_printed(tmp_path: Path) -> None:
    report = reported(*[FINDING] * 40)
    assert printed(report).count("ERROR") == 12
    assert "28 more findings stand in the HTML report" in printed(report)
    assert page(report, tmp_path).count('class="finding error"') == 40


def test_of_each_rule_one_is_printed() -> None:
    """Forty effects do not hide their cause."""
    cause = replace(FINDING, severity="warning", rule="carry")
    text = printed(reported(*[FINDING] * 40, cause))
    assert text.count("ERROR") == 11
    assert "WARNING  carry" in text
    assert "29 more findings stand in the HTML report" in text


def test_where_a_change_was_proved_the_other_code_is_folded(tmp_path: Path) -> None:
    told = Report(flows.lstm(), findings=(FINDING,), code="proved()")
    html = page(told, tmp_path)
    assert html.index("proved()") < html.index("The gradient is 10")
    assert "<details>\n<summary><strong>chrono</strong>" in html


def test_the_page(tmp_path: Path) -> None:
    html = page(reported(FINDING, INFO), tmp_path)
    assert '<li class="finding error">' in html
    assert '<li class="finding info">' in html
    assert "&lt;b&gt;[red]" in html
    assert "print(&#34;&lt;&amp;&gt;&#34;)" in html
    assert "\x1b" not in html
    assert 'class="findings"' not in page(reported(), tmp_path)


def test_lines_of_code_stay_lines(tmp_path: Path) -> None:
    """Code is the one text whose line breaks matter."""
    assert "chrono_(model, 200)\nprint(" in page(reported(FINDING), tmp_path)


def test_a_fault_is_not_said_twice(tmp_path: Path) -> None:
    flow = flows.categories()
    findings = [f for f in carousel.diagnose(flow) if f.rule == "nonfinite"]
    report = Report(flow, findings=findings)
    assert findings
    assert report.data.flows[0].findings
    assert printed(report, 200).count("first arises") == 1
    assert page(report, tmp_path).count("first arises") == 1


def test_findings_of_several_flows_go_by_name() -> None:
    both = {"a": flows.tenth(), "b": flows.lstm()}
    text = printed(Report(both, findings={"b": (FINDING,)}))
    assert "ERROR  vanishing · b · l0" in text
    with pytest.raises(CarouselError, match="There are findings of 'c', and the flows of this"):
        Report(both, findings={"c": (FINDING,)})
    with pytest.raises(CarouselError, match="Give the findings by the names of the flows"):
        Report(both, findings=(FINDING,))


@pytest.mark.parametrize(
    ("findings", "lag", "words"),
    [
        ((), 200, "Diagnosis for a task that needs 200 steps: nothing found."),
        ((), None, "Diagnosis: nothing found. No lag was given"),
        ((FINDING, FINDING, INFO), 5, "needs 5 steps: 2 errors, 1 remark."),
        ((replace(FINDING, severity="warning"),), 5, "1 warning."),
    ],
)
def test_the_tally(findings: tuple[Finding, ...], lag: int | None, words: str) -> None:
    assert words in tally(findings, lag)
