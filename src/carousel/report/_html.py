"""The report as one HTML file: no script, no request, everything inside."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from carousel.report._figures import (
    SHADES,
    HeatFigure,
    LineFigure,
    heat_figure,
    line_figure,
)
from carousel.report._plot import comparison_lines, layer_lines
from carousel.report._schema import (
    CategoryName,
    FindingSummary,
    FlowSummary,
    LayerSummary,
    RemedySummary,
    ReportData,
    Series,
)
from carousel.report._words import (
    LABELS,
    NAMED,
    SEVERITY,
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

__all__ = ["to_html"]

MOST_TABLE_ROWS = 24
MOST_TABLE_COLUMNS = 6


@dataclass(frozen=True)
class Table:
    """Numbers behind a figure."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LayerSection:
    """Everything the page says of one layer."""

    anchor: str
    name: str
    identity: str
    headline: str
    course: str
    horizon: str
    start: str
    end: str
    certificate: str
    within: bool
    notes: tuple[str, ...]
    chart: LineFigure
    heat: HeatFigure
    by_step: Table
    by_sequence: Table


@dataclass(frozen=True)
class FlowSection:
    """Everything the page says of one flow."""

    key: str  # the letter of its line in the comparison; empty where it has none
    style: int
    name: str
    ends: tuple[str, str]  # what the two ends of time are called
    facts: tuple[tuple[str, str], ...]
    layers: tuple[LayerSection, ...]


@dataclass(frozen=True)
class FindingSection:
    """One finding on the page."""

    severity: str  # also the name of its style
    word: str
    rule: str
    flow: str
    layer: str
    sentence: str
    evidence: str
    remedies: tuple[RemedySummary, ...]


@dataclass(frozen=True)
class Page:
    """The page."""

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]
    findings: tuple[FindingSection, ...]
    comparison: LineFigure | None
    comparison_table: Table | None
    flows: tuple[FlowSection, ...]
    tables: tuple[Table, ...]
    code: str


def to_html(data: ReportData) -> str:
    """The whole page as text."""
    environment = Environment(
        loader=PackageLoader("carousel.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_control_characters,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page=page_of(data), shades=SHADES)


def _without_control_characters(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def page_of(data: ReportData) -> Page:
    """The page's content, in words and geometry."""
    several = len(data.flows) > 1
    lines = comparison_lines(data.flows) if several else ()
    return Page(
        title=data.title,
        summary=data.summary,
        facts=tuple((fact.label, fact_value(fact.value)) for fact in data.facts),
        faults=data.faults,
        findings=tuple(
            finding_section(finding, flow.name)
            for flow in data.flows
            for finding in findings_told(flow.findings, data.faults)
        ),
        comparison=line_figure(
            lines,
            "The norm of the total gradient dL/dh at each step, of "
            + ", ".join(line.label for line in lines)
            + ", on one logarithmic axis.",
        )
        if lines
        else None,
        comparison_table=comparison_table(data.flows) if several else None,
        flows=tuple(flow_section(index, flow, several) for index, flow in enumerate(data.flows)),
        tables=tuple(Table(table.title, table.header, table.rows) for table in data.tables),
        code=Markup("\n").join(clean(line) for line in data.code.splitlines()),
    )


def finding_section(finding: FindingSummary, flow_name: str) -> FindingSection:
    """One finding, in words."""
    return FindingSection(
        severity=finding.severity,
        word=SEVERITY[finding.severity].capitalize(),
        rule=finding.rule,
        flow=flow_name,
        layer=finding.layer,
        sentence=finding.sentence,
        evidence=evidence_in_short(finding),
        remedies=finding.remedies,
    )


def flow_section(index: int, flow: FlowSummary, several: bool) -> FlowSection:
    """One flow, layer by layer."""
    has_line = several and len(flow.layers) == 1
    return FlowSection(
        key="ABCDEFGH"[index : index + 1] if has_line else "",
        style=index,
        name=flow.name,
        ends=end_labels(flow.layers),
        facts=tuple((fact.label, fact_value(fact.value)) for fact in flow.facts),
        layers=tuple(
            layer_section(f"flow-{index + 1}-layer-{number + 1}", layer)
            for number, layer in enumerate(flow.layers)
        ),
    )


def layer_section(anchor: str, layer: LayerSummary) -> LayerSection:
    """One layer with its figures and the tables behind them."""
    (_, begun), (_, left) = ends(layer)
    return LayerSection(
        anchor=anchor,
        name=layer.name,
        identity=identity(layer),
        headline=layer.horizon.sentence,
        course=course_sentence(layer),
        horizon=horizon_in_short(layer.horizon),
        start=norm(begun),
        end=norm(left),
        certificate=certificate_sentence(layer.certificate),
        within=layer.certificate.within,
        notes=notes(layer),
        chart=line_figure(
            layer_lines(layer),
            f"Norms of the gradients of {layer.name} at each step on a logarithmic axis. "
            f"{course_sentence(layer)}",
        ),
        heat=heat_figure(
            layer,
            f"The norm of dL/dh of {layer.name}, steps from left to right, sequences from top to "
            "bottom; the darker the larger on light ground, the lighter the larger on dark ground.",
        ),
        by_step=step_table(layer),
        by_sequence=sequence_table(layer),
    )


def step_table(layer: LayerSummary) -> Table:
    """Norms by step, at most MOST_TABLE_ROWS of them, from the first to the last."""
    header = (
        "step",
        *(
            f"{LABELS.get(series.quantity, series.quantity)}: median (10–90 %)"
            for series in layer.series
        ),
    )
    rows = tuple(
        (
            span(layer.first_step[index], layer.last_step[index]),
            *(cell(series, index) for series in layer.series),
        )
        for index in sampled(len(layer.first_step), MOST_TABLE_ROWS)
    )
    return Table(f"Norms by step of {layer.name}", header, rows)


def cell(series: Series, index: int) -> str:
    """One norm with its band, and how many of the norms are no plain numbers."""
    low, middle, high = series.low[index], series.median[index], series.high[index]
    said = norm(middle)
    if isinstance(middle, float) and (low, high) != (middle, middle):
        said += f" ({norm(low)} – {norm(high)})"
    kinds: tuple[CategoryName, ...] = ("zero", "underflow", "infinite", "nan", "padding")
    counted = [
        f"{series.counts.of(kind)[index]} {NAMED[kind]}"
        for kind in kinds
        if series.counts.of(kind)[index]
    ]
    everything = f"{series.counts.total(index)} {said.removeprefix('exactly ')}"
    return said if not counted or counted == [everything] else f"{said}; {', '.join(counted)}"


def sequence_table(layer: LayerSummary) -> Table:
    """Norms by sequence at a few steps: the map in numbers."""
    heat = layer.heat_map
    columns = sampled(len(heat.first_step), MOST_TABLE_COLUMNS)
    header = (
        "sequence",
        *(f"step {span(heat.first_step[i], heat.last_step[i])}" for i in columns),
    )
    rows = tuple(
        (
            span(heat.first_sequence[row], heat.last_sequence[row]),
            *(
                norm(heat.level[row][i])
                + (" (underflow)" if heat.category[row][i] == "underflow" else "")
                for i in columns
            ),
        )
        for row in range(len(heat.first_sequence))
    )
    return Table(f"Norm of total dL/dh by sequence of {layer.name}", header, rows)


def comparison_table(flows: tuple[FlowSummary, ...]) -> Table:
    """The comparison in numbers: each flow's median norm at a few steps."""
    lines = comparison_lines(flows)
    longest = max((line.layer for line in lines), key=lambda layer: layer.steps)
    rows = []
    for index in sampled(len(longest.first_step), MOST_TABLE_ROWS):
        step = longest.first_step[index]
        row = [span(step, longest.last_step[index])]
        for line in lines:
            if step >= line.steps:
                row.append("")
            else:
                width = line.layer.last_step[0] + 1
                row.append(norm(line.series.median[step // width]))
        rows.append(tuple(row))
    header = ("step", *(f"{line.key} {line.label}" for line in lines))
    return Table("Median norm of total dL/dh by step", header, tuple(rows))


def sampled(count: int, most: int) -> list[int]:
    """At most ``most`` indices below ``count``, evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def span(first: int, last: int) -> str:
    """A range of steps or sequences."""
    return str(first) if first == last else f"{first}–{last}"
