"""The report in a terminal, in a pipe, or in a log file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carousel.report._chart import chart
from carousel.report._plot import Line, comparison_lines, layer_lines
from carousel.report._schema import (
    DataTable,
    FindingSummary,
    FlowSummary,
    LayerSummary,
    RemedySummary,
    ReportData,
)
from carousel.report._words import (
    SEVERITY,
    as_ascii,
    certificate_sentence,
    clean,
    course_sentence,
    end_labels,
    ends,
    evidence_in_short,
    fact_value,
    findings_told,
    horizon_in_short,
    identity,
    norm,
    notes,
)

__all__ = ["print_report"]

MOST_CHARTS = 8  # layers of one flow that get a chart of their own
MOST_FAULTS = 10
MOST_FINDINGS = 12
COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}
ROWS = 12  # of a chart
PAD = 2  # columns between those of a table
THOUSANDS = re.compile(r"(?<=\d)\N{NO-BREAK SPACE}(?=\d{3})")
WIDEST = 120  # columns; beyond that a chart gets no better


def print_report(data: ReportData, console: Console, *, details: bool) -> None:
    """Print the report; without ``details`` only what concerns all flows together."""
    _Printer(console).report(data, details=details)


class _Printer:
    """Prints the parts of a report one below the other."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.unicode = not console.options.ascii_only
        self.width = min(console.width, WIDEST)

    def report(self, data: ReportData, *, details: bool) -> None:
        self.say(data.title, "bold underline")
        for fact in data.facts:
            self.say(f"{fact.label}: {fact_value(fact.value)}", "dim")
        if len(data.flows) > 1:
            self.gap()
            self.say("The gradient through time: the norm of dL/dh at each step", "bold")
            self.chart(comparison_lines(data.flows))
        if len(data.flows) > 1 or any(len(flow.layers) > 1 for flow in data.flows):
            self.gap()
            self.overview(data.flows)
        if data.summary:
            self.gap()
            self.say(data.summary, "bold")
        self.faults(data.faults)
        for flow in data.flows:
            told = findings_told(flow.findings, data.faults)
            # Where a remedy was proved already, its lines alone are to be pasted.
            self.findings(told, flow.name, remedies=not data.code)
        for table in data.tables:
            self.table(table)
        self.code(data.code)
        if details:
            for flow in data.flows:
                self.flow(flow)

    def overview(self, flows: tuple[FlowSummary, ...]) -> None:
        """A table of all layers, with what is said of each flow."""
        labels = list(dict.fromkeys(fact.label for flow in flows for fact in flow.facts))
        layers = [layer for flow in flows for layer in flow.layers]
        header = ("layer", "horizon", *end_labels(layers), *labels)
        rows: list[tuple[str, ...]] = []
        for flow in flows:
            said = {fact.label: fact_value(fact.value) for fact in flow.facts}
            for number, layer in enumerate(flow.layers):
                name = flow.name or layer.name
                if flow.name and len(flow.layers) > 1:
                    name = f"{flow.name}: {layer.name}"
                (_, begun), (_, left) = ends(layer)
                row = [name, horizon_in_short(layer.horizon), norm(begun), norm(left)]
                row += [said.get(label, "") if number == 0 else "" for label in labels]
                rows.append(tuple(row))
        self.grid(header, rows)
        self.say(
            "horizon: steps in which what one step's loss sends back falls to 1/e, with its 95 % "
            "interval; dL/dh: its "
            "norm, the median over the sequences",
            "dim",
        )

    def table(self, table: DataTable) -> None:
        """A table below its title."""
        self.gap()
        self.say(table.title, "bold")
        self.grid(table.header, table.rows)

    def grid(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns that wrap between words and, where the terminal is wide enough, never in one."""
        # rich takes a no-break space for a place to break at, between thousands too.
        texts = [[self.text(THOUSANDS.sub("", cell)) for cell in row] for row in (header, *rows)]
        words = [
            max((cell_len(word) for text in column for word in text.plain.split()), default=0)
            for column in zip(*texts, strict=True)
        ]
        fits = sum(words) + PAD * (len(words) - 1) <= self.console.width
        table = Table(box=None, pad_edge=False, padding=(0, PAD, 0, 0), header_style="bold")
        for text, word in zip(texts[0], words, strict=True):
            table.add_column(text, overflow="fold", min_width=word if fits else None)
        for row in texts[1:]:
            table.add_row(*row)
        self.console.print(table)

    def faults(self, faults: tuple[str, ...]) -> None:
        """What is wrong, if anything is."""
        if not faults:
            return
        self.gap()
        for fault in faults[:MOST_FAULTS]:
            self.say(f"WRONG: {fault}", "bold red")
        if len(faults) > MOST_FAULTS:
            self.say(f".. and {len(faults) - MOST_FAULTS} more", "red")

    def code(self, code: str) -> None:
        if not code:
            return
        self.gap()
        self.say("The change, to paste:", "bold")
        for line in code.splitlines():
            self.line(line)

    def findings(
        self, findings: tuple[FindingSummary, ...], flow_name: str, *, remedies: bool
    ) -> None:
        """What was diagnosed, the worst first: sentence, numbers, and what to do."""
        told: set[RemedySummary] = set()
        shown = shown_of(findings)
        for finding in shown:
            self.gap()
            where = " · ".join(part for part in (finding.rule, flow_name, finding.layer) if part)
            colour = COLOURS[finding.severity]
            heading = self.text(SEVERITY[finding.severity], f"bold {colour}")
            self.console.print(heading.append_text(self.text(f"  {where}", "bold")))
            self.say(finding.sentence, "" if finding.severity == "info" else "bold")
            self.say(evidence_in_short(finding), "dim")
            if remedies:
                self.remedies(finding.remedies, told)
        if len(findings) > len(shown):
            more = len(findings) - len(shown)
            self.gap()
            self.say(
                f"{more} more finding{'s stand' if more > 1 else ' stands'} in the HTML report, "
                "and in the JSON."
            )

    def remedies(self, remedies: tuple[RemedySummary, ...], told: set[RemedySummary]) -> None:
        """The first remedy with its code, unless ``told`` has it already; the others by name."""
        if not remedies:
            return
        first, *others = remedies
        self.say(f"Try {first.name}{', as above.' if first in told else f': {first.sentence}'}")
        for line in () if first in told else first.code.splitlines():
            self.line(f"    {line}".rstrip(), "cyan")
        if others:
            self.say(f"Or else: {', '.join(remedy.name for remedy in others)}.")
        told.add(first)

    def flow(self, flow: FlowSummary) -> None:
        """The layers of one flow."""
        for layer in flow.layers[:MOST_CHARTS]:
            self.layer(layer, flow.name)
        if len(flow.layers) > MOST_CHARTS:
            self.gap()
            self.say(
                f"{len(flow.layers) - MOST_CHARTS} more layers stand in the table above, and with "
                "their charts in the HTML report."
            )

    def layer(self, layer: LayerSummary, flow_name: str) -> None:
        """One layer: sentences, chart, certificate and notes."""
        self.gap()
        name = f"{flow_name}: {layer.name}" if flow_name else layer.name
        heading = Text().append_text(self.text(name, "bold cyan"))
        what = self.text(identity(layer), "dim")
        if heading.cell_len + 2 + what.cell_len <= self.console.width:
            heading.append("  ").append_text(what)
            self.console.print(heading)
        else:
            self.console.print(heading)
            self.console.print(what)
        self.say(layer.horizon.sentence, "bold")
        self.say(course_sentence(layer))
        self.chart(layer_lines(layer))
        self.say(
            certificate_sentence(layer.certificate), "" if layer.certificate.within else "bold red"
        )
        for note in notes(layer):
            self.say(f"Note: {note}")

    def say(self, sentence: str, style: str = "") -> None:
        """A paragraph, wrapped at the width of the terminal."""
        self.console.print(self.text(sentence, style))

    def line(self, code: str, style: str = "") -> None:
        """A line of code, never wrapped: it is there to be copied."""
        self.console.print(self.text(code, style), soft_wrap=True)

    def chart(self, lines: tuple[Line, ...]) -> None:
        """A chart, whose rows must not be wrapped, and its legend."""
        drawn = chart(lines, self.width, ROWS, self.unicode)
        for row in drawn.rows:
            row.rstrip()
            self.console.print(row, no_wrap=True, overflow="crop", crop=True)
        for entry in drawn.legend:
            self.console.print(entry)

    def gap(self) -> None:
        """An empty line."""
        self.console.print()

    def text(self, content: str, style: str = "") -> Text:
        """A user's words may be anything: never markup, never control characters."""
        content = clean(content)
        return Text(content if self.unicode else as_ascii(content), style=style)


def shown_of(findings: tuple[FindingSummary, ...]) -> tuple[FindingSummary, ...]:
    """As many as fit, in their order, and one of each rule: causes stand beside their effects."""
    first = {finding.rule: place for place, finding in reversed(list(enumerate(findings)))}
    of_each = sorted(first.values())
    others = [place for place in range(len(findings)) if place not in of_each]
    room = max(0, MOST_FINDINGS - len(of_each))
    return tuple(findings[place] for place in sorted([*of_each, *others[:room]]))
