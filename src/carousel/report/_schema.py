"""What a report says, as plain data: every renderer reads this and nothing else.

A norm is stated as its log10, so that 1e-400 is a number. Where there is none, the reason stands in
its place by name: a report never writes NaN, never an infinity, and never a made-up number.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

__all__ = [
    "SCHEMA",
    "CategoryName",
    "Certificate",
    "Counts",
    "DataTable",
    "Fact",
    "FindingSummary",
    "FlowSummary",
    "HeatMap",
    "HorizonSummary",
    "LayerSummary",
    "Level",
    "Located",
    "Measured",
    "Number",
    "RemedySummary",
    "ReportData",
    "Series",
]

SCHEMA = 1  # raised whenever a field changes its name or its meaning

CategoryName = Literal["value", "zero", "underflow", "infinite", "nan", "padding"]
# The log10 of a norm, or why there is none.
Level = float | Literal["zero", "infinite", "nan", "padding"]
Number = float | Literal["infinite", "minus infinite", "nan"]


@dataclass(frozen=True)
class Counts:
    """How many norms fell into each category, one number for each bin of steps."""

    value: tuple[int, ...]
    zero: tuple[int, ...]  # exactly zero
    underflow: tuple[int, ...]  # not zero, but below the smallest normal number of the dtype
    infinite: tuple[int, ...]  # infinite, or beyond the largest number of the dtype
    nan: tuple[int, ...]
    padding: tuple[int, ...]  # steps beyond a sequence's length: nothing is there

    def of(self, category: CategoryName) -> tuple[int, ...]:
        """The counts of one category."""
        counts: tuple[int, ...] = getattr(self, category)
        return counts

    def occurring(self) -> tuple[CategoryName, ...]:
        """The categories other than plain values that occur at all."""
        names: tuple[CategoryName, ...] = ("zero", "underflow", "infinite", "nan", "padding")
        return tuple(name for name in names if any(self.of(name)))

    def total(self, bin_index: int) -> int:
        """All norms of one bin, padding included."""
        return sum(int(getattr(self, field.name)[bin_index]) for field in fields(self))


@dataclass(frozen=True)
class Series:
    """One quantity by step: log10 of its Euclidean norm over the units, across the sequences.

    Quantiles run over the sequences that reach the step and are not NaN; an exact zero ranks below
    every number, an infinity above.
    """

    quantity: str  # "d_h", "d_c" or "d_h_injected"
    median: tuple[Level, ...]
    low: tuple[Level, ...]  # 10 % of the sequences lie below
    high: tuple[Level, ...]  # 10 % of the sequences lie above
    smallest: tuple[Level, ...]
    largest: tuple[Level, ...]
    counts: Counts


@dataclass(frozen=True)
class HeatMap:
    """One quantity by sequence and step, neighbours joined where there are too many to draw.

    A cell that holds any NaN is "nan", else one that holds any infinity is "infinite"; otherwise
    its category is the most frequent one. Its level is the median of its numbers.
    """

    quantity: str
    first_step: tuple[int, ...]  # of each column
    last_step: tuple[int, ...]
    first_sequence: tuple[int, ...]  # of each row
    last_sequence: tuple[int, ...]
    category: tuple[tuple[CategoryName, ...], ...]  # by row, then column
    level: tuple[tuple[Level, ...], ...]


@dataclass(frozen=True)
class HorizonSummary:
    """How far back the layer's Jacobian products reach; intervals are 95 %."""

    kind: str  # "decaying", "growing", "level", "zero", "nonfinite" or "too short"
    rate: float | None  # per step, natural logarithm
    rate_interval: tuple[Number, Number] | None
    steps: float | None  # -1 / rate
    steps_interval: tuple[Number, Number] | None
    half_life: float | None  # in steps
    sentence: str


@dataclass(frozen=True)
class Certificate:
    """How exactly the replay met the module: max |h recomputed - h of the module|."""

    value: Number
    limit: float
    within: bool


@dataclass(frozen=True)
class LayerSummary:
    """One recurrent layer in one direction."""

    name: str
    kind: str
    direction: str  # "forward" or "reverse"
    steps: int
    batch: int
    hidden: int
    dtype: str
    smallest_log10: float  # log10 of the dtype's smallest normal number
    largest_log10: float  # log10 of the dtype's largest number
    device: str
    shortest: int  # valid steps of the shortest sequence
    certificate: Certificate
    horizon: HorizonSummary
    notes: tuple[str, ...]
    boundaries: tuple[int, ...]  # steps where a later call of the module begins
    at_first_step: Level  # the total gradient at step 0, median over the sequences
    at_last_step: Level  # and at step T - 1
    first_step: tuple[int, ...]  # of each bin of the series; one step a bin unless there are many
    last_step: tuple[int, ...]
    series: tuple[Series, ...]
    heat_map: HeatMap

    def of(self, quantity: str) -> Series | None:
        """The series of one quantity, None where the layer has no such thing."""
        return next((series for series in self.series if series.quantity == quantity), None)

    @property
    def total(self) -> Series:
        """The series of the total gradient dL/dh, which every layer has."""
        return self.series[0]


@dataclass(frozen=True)
class Located:
    """A value that is not finite, and where it was met first."""

    layer: str
    step: int
    sequence: int
    quantity: str
    value: str  # "nan" or "inf"
    phase: str  # "forward" or "backward"
    sentence: str


@dataclass(frozen=True)
class Fact:
    """Something to be said beside the figures."""

    label: str
    value: str | float


@dataclass(frozen=True)
class Measured:
    """One number that a finding rests on, its unit in its name."""

    name: str
    value: Number


@dataclass(frozen=True)
class RemedySummary:
    """What can be done about a finding."""

    name: str
    sentence: str
    code: str  # a few lines of PyTorch
    keeps_weights: bool  # False: it overwrites what was trained


@dataclass(frozen=True)
class FindingSummary:
    """One opinion about a flow."""

    rule: str
    severity: str  # "error", "warning" or "info"
    layer: str  # empty for the flow as a whole
    sentence: str
    evidence: tuple[Measured, ...]
    threshold: float | None
    source: str
    remedies: tuple[RemedySummary, ...]


@dataclass(frozen=True)
class FlowSummary:
    """One measured pass of one model."""

    name: str  # empty where a report holds a single flow
    layers: tuple[LayerSummary, ...]
    nonfinite: tuple[Located, ...]
    facts: tuple[Fact, ...]
    findings: tuple[FindingSummary, ...]  # empty where nobody diagnosed, or nothing was found


@dataclass(frozen=True)
class DataTable:
    """A table of words and numbers, in words already."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ReportData:
    """The whole report."""

    schema: int
    title: str
    summary: str  # the conclusion in a sentence or two, may be empty
    facts: tuple[Fact, ...]
    flows: tuple[FlowSummary, ...]
    faults: tuple[str, ...]  # what is wrong, a sentence each; empty where nothing is
    tables: tuple[DataTable, ...] = ()
    code: str = ""  # lines of Python to paste, may be empty
