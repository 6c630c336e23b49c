"""From flows, which hold tensors, to the schema, which holds plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from carousel._quantile import quantile
from carousel.diagnosis import Finding
from carousel.flow import Category, Flow, Horizon, LayerFlow
from carousel.report._findings import finding_summaries
from carousel.report._schema import (
    SCHEMA,
    CategoryName,
    Certificate,
    Counts,
    Fact,
    FindingSummary,
    FlowSummary,
    HeatMap,
    HorizonSummary,
    LayerSummary,
    Level,
    Located,
    Number,
    ReportData,
    Series,
)

__all__ = ["ELSEWHERE", "FactValue", "summarise"]

FactValue = str | float

ELSEWHERE = "What is not finite elsewhere"  # how a fault begins that goes with the one before it
MOST_BINS = 2000  # up to so many steps each has its own bin
MOST_COLUMNS = 160  # of a heat map
MOST_ROWS = 24
DECIMALS = 6  # of a log10; a norm is then stated to two parts in a million
ALARMING: dict[CategoryName, str] = {"nan": "NaN", "infinite": "infinite"}
NAMES: dict[int, CategoryName] = {
    Category.VALUE: "value",
    Category.ZERO: "zero",
    Category.UNDERFLOW: "underflow",
    Category.INFINITE: "infinite",
    Category.NAN: "nan",
    Category.PADDING: "padding",
}


def summarise(
    flows: Mapping[str, Flow],
    *,
    title: str,
    summary: str,
    facts: Mapping[str, FactValue | Mapping[str, FactValue]],
    findings: Mapping[str, Sequence[Finding]],
) -> ReportData:
    """The report on ``flows``; a fact that is a mapping is said of each flow by its name."""
    summaries = tuple(
        flow_summary(
            name,
            flow,
            tuple(
                Fact(label, value[name])
                for label, value in facts.items()
                if isinstance(value, Mapping) and name in value
            ),
            finding_summaries(findings.get(name, ())),
        )
        for name, flow in flows.items()
    )
    return ReportData(
        schema=SCHEMA,
        title=title,
        summary=summary,
        facts=tuple(
            Fact(label, value) for label, value in facts.items() if not isinstance(value, Mapping)
        ),
        flows=summaries,
        faults=tuple(fault for summary in summaries for fault in faults_of(summary)),
    )


def flow_summary(
    name: str, flow: Flow, facts: tuple[Fact, ...], findings: tuple[FindingSummary, ...]
) -> FlowSummary:
    """One flow, layer by layer."""
    return FlowSummary(
        name=name,
        layers=tuple(layer_summary(layer) for layer in flow.layers.values()),
        nonfinite=tuple(
            Located(
                layer=found.layer,
                step=int(found.step),
                sequence=int(found.sequence),
                quantity=found.quantity,
                value=found.value,
                phase=found.phase,
                sentence=str(found),
            )
            for found in flow.nonfinite
        ),
        facts=facts,
        findings=findings,
    )


def faults_of(flow: FlowSummary) -> list[str]:
    """What is wrong with a flow, a sentence each."""
    where = f"{flow.name}: " if flow.name else ""
    faults = [where + found.sentence for found in flow.nonfinite[:1]]
    if len(flow.nonfinite) > 1:
        others = ", ".join(dict.fromkeys(found.layer for found in flow.nonfinite[1:]))
        faults.append(f"{where}{ELSEWHERE}, in {others}, was computed later.")
    located = {found.layer for found in flow.nonfinite}
    for layer in flow.layers:
        if layer.name not in located:
            faults += [
                f"{where}{layer.name}: {series.quantity} is {said} at step "
                f"{layer.first_step[first_with(series.counts.of(category))]}."
                for series in layer.series
                for category, said in ALARMING.items()
                if any(series.counts.of(category))
            ]
        if not layer.certificate.within:
            faults.append(
                f"{where}{layer.name}: the replay missed the module's own output by "
                f"{written(layer.certificate.value)}, above its limit of "
                f"{layer.certificate.limit:.1e}; do not trust the numbers of this layer."
            )
    return faults


def layer_summary(layer: LayerFlow) -> LayerSummary:
    """One layer: its identity, and its gradients by step."""
    width = math.ceil(layer.steps / MOST_BINS)
    quantities = ["d_h", "d_h_injected"] + (["d_c"] if layer.d_c is not None else [])
    dtype = torch.finfo(layer.dtype)
    return LayerSummary(
        name=layer.name,
        kind=layer.kind,
        direction=layer.direction,
        steps=int(layer.steps),
        batch=int(layer.batch),
        hidden=int(layer.hidden),
        dtype=str(layer.dtype).removeprefix("torch."),
        smallest_log10=round(math.log10(dtype.tiny), DECIMALS),
        largest_log10=round(math.log10(dtype.max), DECIMALS),
        device=str(layer.device),
        shortest=int(layer.lengths.min()),
        certificate=Certificate(
            value=number(layer.certificate),
            limit=float(layer.certificate_limit),
            within=bool(layer.certificate <= layer.certificate_limit),
        ),
        horizon=horizon_summary(layer.horizon()),
        notes=tuple(layer.notes),
        boundaries=tuple(int(step) for step in layer.boundaries),
        at_first_step=median_at(layer, 0),
        at_last_step=median_at(layer, -1),
        first_step=tuple(range(0, layer.steps, width)),
        last_step=last_of(layer.steps, width),
        series=tuple(series_of(layer, quantity, width) for quantity in quantities),
        heat_map=heat_map_of(layer, "d_h"),
    )


def horizon_summary(horizon: Horizon) -> HorizonSummary:
    """The horizon with every number that is not one left out or named."""
    has_rate = math.isfinite(horizon.rate)
    return HorizonSummary(
        kind=horizon.kind,
        rate=float(horizon.rate) if has_rate else None,
        rate_interval=interval(horizon.rate_interval) if has_rate else None,
        steps=finite_or_none(horizon.steps),
        steps_interval=interval(horizon.steps_interval),
        half_life=finite_or_none(horizon.half_life),
        sentence=str(horizon),
    )


def series_of(layer: LayerFlow, quantity: str, width: int) -> Series:
    """One quantity by step, ``width`` steps to a bin."""
    log10 = layer.log10_norm(quantity).double().cpu()
    category = layer.category(quantity).cpu()
    bins = math.ceil(layer.steps / width)
    missing = bins * width - layer.steps
    log10 = torch.nn.functional.pad(log10, (0, 0, 0, missing)).reshape(bins, -1)
    category = torch.nn.functional.pad(category, (0, 0, 0, missing), value=-1).reshape(bins, -1)
    counts = {name: tuple((category == code).sum(dim=1).tolist()) for code, name in NAMES.items()}
    ranked = (category >= 0) & (category != Category.PADDING) & (category != Category.NAN)
    has_nan = (category == Category.NAN).any(dim=1)
    quantiles = {
        name: levels(quantile(log10, ranked, share), ranked.any(dim=1), has_nan)
        for name, share in {
            "median": 0.5,
            "low": 0.1,
            "high": 0.9,
            "smallest": 0.0,
            "largest": 1.0,
        }.items()
    }
    return Series(quantity=quantity, counts=Counts(**counts), **quantiles)


def median_at(layer: LayerFlow, step: int) -> Level:
    """The median of the total gradient at one step."""
    log10 = layer.log10_norm("d_h")[step].double().cpu().unsqueeze(0)
    category = layer.category("d_h")[step].cpu().unsqueeze(0)
    ranked = (category != Category.PADDING) & (category != Category.NAN)
    has_nan = (category == Category.NAN).any(dim=1)
    return levels(quantile(log10, ranked, 0.5), ranked.any(dim=1), has_nan)[0]


def levels(log10: Tensor, has_rank: Tensor, has_nan: Tensor) -> tuple[Level, ...]:
    """Plain numbers, and names where there is none."""
    return tuple(
        level(value) if ranked else ("nan" if nan else "padding")
        for value, ranked, nan in zip(
            log10.tolist(), has_rank.tolist(), has_nan.tolist(), strict=True
        )
    )


def level(log10: float) -> Level:
    """One log10 as the schema states it."""
    if math.isnan(log10):
        return "nan"
    if math.isinf(log10):
        return "infinite" if log10 > 0 else "zero"
    return round(log10, DECIMALS)


def heat_map_of(layer: LayerFlow, quantity: str) -> HeatMap:
    """One quantity by sequence and step, joined to at most MOST_ROWS x MOST_COLUMNS cells."""
    width = math.ceil(layer.steps / MOST_COLUMNS)
    height = math.ceil(layer.batch / MOST_ROWS)
    log10 = cells(layer.log10_norm(quantity).double().cpu(), width, height)
    category = cells(layer.category(quantity).cpu(), width, height, outside=-1)
    numbers = (category == Category.VALUE) | (category == Category.UNDERFLOW)
    median = quantile(log10, numbers, 0.5)
    kinds = cell_categories(category)
    return HeatMap(
        quantity=quantity,
        first_step=tuple(range(0, layer.steps, width)),
        last_step=last_of(layer.steps, width),
        first_sequence=tuple(range(0, layer.batch, height)),
        last_sequence=last_of(layer.batch, height),
        category=tuple(tuple(NAMES[code] for code in row) for row in kinds.tolist()),
        level=tuple(
            tuple(cell_level(code, value) for code, value in zip(codes, values, strict=True))
            for codes, values in zip(kinds.tolist(), median.tolist(), strict=True)
        ),
    )


def cells(values: Tensor, width: int, height: int, outside: int = 0) -> Tensor:
    """[T, B] cut into cells of ``width`` steps and ``height`` sequences: [rows, columns, cell]."""
    steps, batch = values.shape
    columns, rows = math.ceil(steps / width), math.ceil(batch / height)
    padded = torch.nn.functional.pad(
        values, (0, rows * height - batch, 0, columns * width - steps), value=outside
    )
    by_cell = padded.reshape(columns, width, rows, height).permute(2, 0, 1, 3)
    return by_cell.reshape(rows, columns, width * height)


def cell_categories(category: Tensor) -> Tensor:
    """One category for each cell: NaN, then infinite, wherever met; else the most frequent one."""
    order = [Category.VALUE, Category.UNDERFLOW, Category.ZERO]
    counts = torch.stack([(category == code).sum(dim=-1) for code in order])
    kinds = torch.tensor([int(code) for code in order])[counts.argmax(dim=0)]
    kinds = kinds.masked_fill(counts.sum(dim=0) == 0, Category.PADDING)
    kinds = kinds.masked_fill((category == Category.INFINITE).any(dim=-1), Category.INFINITE)
    return kinds.masked_fill((category == Category.NAN).any(dim=-1), Category.NAN)


def cell_level(code: int, median: float) -> Level:
    """The level of one cell, by name where its category is not a number."""
    name = NAMES[code]
    return level(median) if name == "value" or name == "underflow" else name  # noqa: PLR1714  narrows


def last_of(count: int, width: int) -> tuple[int, ...]:
    """The last of each run of ``width``, of ``count`` in all."""
    return tuple(min(first + width, count) - 1 for first in range(0, count, width))


def first_with(counts: tuple[int, ...]) -> int:
    """The first bin in which something was counted."""
    return next(index for index, count in enumerate(counts) if count)


def number(value: float) -> Number:
    """A number, or the name of what stands in its place."""
    if math.isnan(value):
        return "nan"
    return "infinite" if math.isinf(value) else float(value)


def written(value: Number) -> str:
    """A number in a sentence."""
    return f"{value:.1e}" if isinstance(value, float) else {"nan": "NaN"}.get(value, value)


def interval(pair: tuple[float, float] | None) -> tuple[Number, Number] | None:
    """Both ends as the schema states them; None where there is no interval."""
    if pair is None or any(math.isnan(end) for end in pair):
        return None
    return number(pair[0]), number(pair[1])


def finite_or_none(value: float | None) -> float | None:
    """A finite number, or None."""
    return None if value is None or not math.isfinite(value) else float(value)
