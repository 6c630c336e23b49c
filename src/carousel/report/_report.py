"""The report: flows made readable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from rich.console import Console

from carousel._errors import CarouselError, kind_of
from carousel.diagnosis import Finding
from carousel.flow import Flow, LayerFlow, Watcher
from carousel.report._html import to_html
from carousel.report._json import to_json
from carousel.report._schema import DataTable, ReportData
from carousel.report._summary import FactValue, summarise
from carousel.report._terminal import print_report

__all__ = ["Report"]


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """One flow, or several under their names, as text, as a page, and as JSON.

    Args:
        flows: what was measured. Several flows are also drawn together on one axis.
        title: stands above everything.
        summary: the conclusion, in a sentence or two.
        facts: what else is to be said, by label. A value that is a mapping is said of each flow
            by its name: ``{"accuracy": {"LSTM": 0.93, "tanh RNN": 0.31}}``.
        findings: what ``carousel.diagnose`` found; of several flows by their names.
        tables: shown below the summary.
        code: lines of Python to paste, shown below the tables.

    Raises:
        CarouselError: there is no flow, something is not a flow, a flow has no layer, or there are
            findings of no flow.
    """

    flows: Flow | Mapping[str, Flow]
    title: str = "Gradients through time"
    summary: str = ""
    facts: Mapping[str, FactValue | Mapping[str, FactValue]] = field(default_factory=dict)
    findings: Sequence[Finding] | Mapping[str, Sequence[Finding]] = ()
    tables: tuple[DataTable, ...] = ()
    code: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.flows, (Flow, Mapping)):
            raise _no_flow(self.flows)
        for name, flow in self._named().items():
            if not isinstance(flow, Flow):
                raise _no_flow(flow, name)
            if not len(flow):
                raise CarouselError("Expected a Flow with at least one layer, got an empty one.")
        if not self._named():
            raise CarouselError("Expected at least one Flow to report on, got none.")
        for name in self._found():
            if name not in self._named():
                raise CarouselError(
                    f"There are findings of {name or 'a single flow'!r}, and the flows of this "
                    f"report are: {', '.join(self._named()) or 'one without a name'}. Give the "
                    "findings by the names of the flows."
                )

    @cached_property
    def data(self) -> ReportData:
        """The report as plain data, which all forms of it are made from."""
        data = summarise(
            self._named(),
            title=self.title,
            summary=self.summary,
            facts=self.facts,
            findings=self._found(),
        )
        return replace(data, tables=self.tables, code=self.code)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, a sentence each: values that are not finite, a replay that missed."""
        return self.data.faults

    def print(self, console: Console | None = None, *, details: bool = True) -> None:
        """Print the report to a terminal, or wherever ``console`` writes.

        Args:
            console: by default standard output.
            details: print each layer by itself too, after what concerns all of them.
        """
        print_report(self.data, console or Console(highlight=False), details=details)

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one HTML file that needs nothing else, and return its path.

        Raises:
            CarouselError: the file cannot be written.
        """
        target = Path(path)
        try:
            target.write_text(to_html(self.data), encoding="utf-8")
        except OSError as error:
            raise CarouselError(
                f"The report cannot be written to {target}: {error.strerror or error}. "
                "Choose another path for it."
            ) from error
        return target

    def to_json(self) -> str:
        """The report as strict JSON; its ``schema`` number tells which form it has."""
        return to_json(self.data)

    def __str__(self) -> str:
        said = f"{self.title}. {self._measured()}."
        faults = self.faults
        if not faults:
            return f"{said} No fault was found; report.print() shows all of it."
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return f"{said}\nWRONG: {faults[0]}{more}"

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {self._measured()})"

    def _measured(self) -> str:
        """The flows and their layers, by name."""
        return "; ".join(
            f"{f'{name}: ' if name else ''}{', '.join(flow.layers)}"
            for name, flow in self._named().items()
        )

    def _found(self) -> Mapping[str, Sequence[Finding]]:
        if isinstance(self.findings, Mapping):
            return self.findings
        return {"": self.findings} if self.findings else {}

    def _named(self) -> Mapping[str, Flow]:
        return {"": self.flows} if isinstance(self.flows, Flow) else self.flows


def _no_flow(thing: object, name: str = "") -> CarouselError:
    """What is said where a report is asked for of something else."""
    todo = "carousel.measure(model, batch, loss_fn) gives a Flow."
    if isinstance(thing, Watcher):
        todo = "Pass watcher.flow, the flow of its last backward pass."
    if isinstance(thing, LayerFlow):
        todo = "A report is on a whole Flow: pass the flow that the layer is of, as watcher.flow."
    return CarouselError(
        f"Expected a Flow, or a mapping from names to Flows, got {kind_of(thing)}"
        f"{f' under {name!r}' if name else ''}. {todo}"
    )
