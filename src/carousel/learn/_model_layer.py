"""One layer of a person's own model: its gradients, the ways that they came, and its gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from carousel._quantile import quantile
from carousel.diagnosis.rules import END, lower_end
from carousel.flow import LayerFlow
from carousel.learn._model import ModelLayerRequest, ModelView, served
from carousel.report import (
    LayerSummary,
    Level,
    certificate_sentence,
    course_sentence,
    identity,
    level,
    notes,
)

__all__ = [
    "ModelBand",
    "ModelEnd",
    "ModelGate",
    "ModelLayer",
    "ModelShare",
    "band",
    "model_layer",
    "some_of",
]

MOST_NUMBERS = 4_000_000  # steps x sequences x units that the paths and gates are computed of


@dataclass(frozen=True)
class ModelBand:
    """log10 of a norm by step, across the sequences."""

    quantity: str  # "d_h", "d_h_injected", "d_c" or "carousel"
    median: tuple[Level, ...]
    low: tuple[Level, ...]  # 10 % of the sequences lie below
    high: tuple[Level, ...]  # 10 % of the sequences lie above


@dataclass(frozen=True)
class ModelEnd:
    """A step before which sequences end that are shorter than the longest."""

    step: int
    sequences: int


@dataclass(frozen=True)
class ModelShare:
    """How much of the gradient came one way, by step: the mean over the sequences."""

    name: str
    share: tuple[float | None, ...]  # None where the gradient is zero, not finite or not there


@dataclass(frozen=True)
class ModelGate:
    """The activations of one gate by step, over sequences and units."""

    name: str
    lowest: float  # of its range as drawn
    highest: float
    mean: tuple[float | None, ...]  # None where nothing finite is there
    low: tuple[float | None, ...]  # 10 % lie below
    high: tuple[float | None, ...]
    saturated: float | None  # share of all within 1 % of an end of its range; None: it has no ends


@dataclass(frozen=True)
class ModelLayer:
    """Everything of one layer that is drawn at once."""

    key: str
    name: str
    identity: str
    horizon: str
    course: str
    certificate: str
    certified: bool
    notes: tuple[str, ...]
    direction: str
    steps: int
    batch: int
    stride: int  # steps to a value: 1 unless there are many
    boundaries: tuple[int, ...]  # steps where a later call of the module begins
    cuts: tuple[int, ...]  # steps before which the state was detached
    ends: tuple[ModelEnd, ...]  # () where all sequences are of one length
    whole: int  # sequences that reach the last step; ``course`` is of them
    smallest_log10: float  # of the dtype's normal numbers
    bands: tuple[ModelBand, ...]
    sampled: int  # sequences that paths and gates are of
    state: str  # "c" or "h", whose gradient the paths are of
    paths: tuple[ModelShare, ...]
    gates: tuple[ModelGate, ...]


def model_layer(
    request: ModelLayerRequest, proceed: Callable[[], None], view: ModelView | None
) -> ModelLayer:
    """A layer by its key.

    Raises:
        CarouselError: no model is served, or it has no such layer.
    """
    view = served(view)
    layer = view.layer(request.layer)
    found = view.known.get(request)
    if not isinstance(found, ModelLayer):
        found = computed(request.layer, layer, view.summary(layer.name), proceed)
        view.known[request] = found
    return found


def computed(
    key: str, layer: LayerFlow, said: LayerSummary, proceed: Callable[[], None]
) -> ModelLayer:
    """All of it, from the flow and from what the report computed already."""
    some = some_of(layer, spread(layer.batch, MOST_NUMBERS // (layer.steps * layer.hidden)))
    stride = said.last_step[0] + 1
    bands = [ModelBand(one.quantity, one.median, one.low, one.high) for one in said.series]
    proceed()
    state, shares, carousel = ways(some, stride)
    proceed()
    return ModelLayer(
        key=key,
        name=layer.name,
        identity=identity(said),
        horizon=said.horizon.sentence,
        course=course_of(layer, said),
        certificate=certificate_sentence(said.certificate),
        certified=said.certificate.within,
        notes=notes(said),
        direction=layer.direction,
        steps=layer.steps,
        batch=layer.batch,
        stride=stride,
        boundaries=said.boundaries,
        cuts=tuple(int(step) for step in layer.cuts),
        ends=ends_of(layer),
        whole=int((layer.lengths == layer.steps).sum()),
        smallest_log10=said.smallest_log10,
        bands=tuple(bands + carousel),
        sampled=some.batch,
        state=state,
        paths=shares,
        gates=gates_of(some, stride),
    )


def ends_of(layer: LayerFlow) -> tuple[ModelEnd, ...]:
    """Where the shorter sequences end, in order."""
    shorter = layer.lengths[layer.lengths < layer.steps].cpu()
    steps, counts = shorter.unique(return_counts=True)
    return tuple(map(ModelEnd, steps.tolist(), counts.tolist()))


def course_of(layer: LayerFlow, said: LayerSummary) -> str:
    """The gradient at both ends of time, of the same sequences at both."""
    whole = (layer.lengths == layer.steps).cpu()
    count = int(whole.sum())
    if count in (0, layer.batch):
        return course_sentence(said)
    log10, valid = (
        of[[0, -1]].cpu()[:, whole] for of in (layer.log10_norm("d_h"), layer.trace.valid)
    )
    first, last = band("d_h", log10, valid).median
    sentence = course_sentence(replace(said, at_first_step=first, at_last_step=last))
    reach = f"that reach{'es' if count == 1 else ''} step {layer.steps - 1}"
    return sentence.replace(
        "over the sequences", f"over the {count} of {layer.batch} sequences {reach}"
    )


def spread(count: int, most: int) -> list[int]:
    """At least one and at most ``most`` places among ``count``, evenly spread."""
    most = max(1, min(count, most))
    return sorted({round(at * (count - 1) / max(1, most - 1)) for at in range(most)})


def some_of(layer: LayerFlow, sequences: Sequence[int]) -> LayerFlow:
    """The layer with some of its sequences."""
    if len(sequences) == layer.batch:
        return layer
    at = torch.tensor(sequences, device=layer.device)

    def pick(tensor: Tensor) -> Tensor:
        return tensor[:, at]

    trace = layer.trace
    return LayerFlow(
        replace(
            trace,
            x=pick(trace.x),
            lengths=trace.lengths[at],
            trajectory=trace.trajectory.map(pick),
            d_h=trace.d_h.map(pick),
            d_c=None if trace.d_c is None else trace.d_c.map(pick),
            d_h_injected=trace.d_h_injected.map(pick),
            d_c_injected=None if trace.d_c_injected is None else trace.d_c_injected.map(pick),
            d_h_start=trace.d_h_start.map(pick),
            d_c_start=None if trace.d_c_start is None else trace.d_c_start.map(pick),
            handed_over=trace.handed_over[:, at.to(trace.handed_over.device)],
        )
    )


def ways(layer: LayerFlow, stride: int) -> tuple[str, tuple[ModelShare, ...], list[ModelBand]]:
    """Whose gradient came, by which ways, and what the carousel alone would leave."""
    if not layer.trace.cell.derived:
        return "h", (), []
    found = layer.paths()
    shares = tuple(
        ModelShare(name, means(share.cpu(), stride)) for name, share in found.shares().items()
    )
    if found.carousel is None:
        return found.state, shares, []
    valid = layer.trace.valid.cpu()
    log10 = found.log10_norm("carousel").cpu()
    return found.state, shares, [band("carousel", log10, valid, stride)]


def band(quantity: str, log10: Tensor, there: Tensor, stride: int = 1) -> ModelBand:
    """Quantiles over the last axis of [T, B], as the report has them."""
    log10, there = in_bins(log10, stride, math.nan), in_bins(there, stride, False)
    ranked = there & ~log10.isnan()
    nothing: list[Level] = [
        "nan" if any_there else "padding" for any_there in there.any(dim=1).tolist()
    ]

    def at(share: float) -> tuple[Level, ...]:
        values = quantile(log10, ranked, share).tolist()
        return tuple(
            level(value) if known else none
            for value, known, none in zip(values, ranked.any(dim=1).tolist(), nothing, strict=True)
        )

    return ModelBand(quantity, at(0.5), at(0.1), at(0.9))


def gates_of(layer: LayerFlow, stride: int) -> tuple[ModelGate, ...]:
    """Every gate, over all units and those steps that hold data."""
    if not layer.trace.cell.derived:
        return ()
    valid = layer.trace.valid.cpu()
    return tuple(
        gate_of(name, activation.cpu(), valid, lower_end(layer, name), stride)
        for name, activation in layer.gates.items()
    )


def gate_of(
    name: str, activation: Tensor, valid: Tensor, lowest: float | None, stride: int
) -> ModelGate:
    """One gate."""
    there = valid.unsqueeze(-1) & activation.isfinite()
    values = activation.masked_fill(~there, 0.0)
    flat = in_bins(values.flatten(1), stride, 0.0).double()
    ranked = in_bins(there.flatten(1), stride, False)
    ends = (0.0, 1.0) if lowest is None else (lowest, 1.0)
    known = values[there]
    if lowest is None and known.numel():
        ends = min(0.0, float(known.min())), max(1.0, float(known.max()))
    saturated = None
    if lowest is not None and known.numel():
        at_end = (known < lowest + END) | (known > 1 - END)
        saturated = float(at_end.double().mean())
    some = ranked.any(dim=1)

    def told(numbers: Tensor) -> tuple[float | None, ...]:
        return tuple(
            round(value, 6) if known else None
            for value, known in zip(numbers.tolist(), some.tolist(), strict=True)
        )

    return ModelGate(
        name=name,
        lowest=ends[0],
        highest=ends[1],
        mean=told((flat * ranked).sum(dim=1) / ranked.sum(dim=1).clamp(min=1)),
        low=told(quantile(flat, ranked, 0.1)),
        high=told(quantile(flat, ranked, 0.9)),
        saturated=saturated,
    )


def means(values: Tensor, stride: int) -> tuple[float | None, ...]:
    """The mean over the last axis of [T, B], of what is finite."""
    values = in_bins(values, stride, math.nan)
    there = values.isfinite()
    mean = values.masked_fill(~there, 0.0).sum(dim=1) / there.sum(dim=1).clamp(min=1)
    return tuple(
        round(value, 6) if known else None
        for value, known in zip(mean.tolist(), there.any(dim=1).tolist(), strict=True)
    )


def in_bins(values: Tensor, stride: int, outside: float) -> Tensor:
    """[T, B] as [bins, stride x B]."""
    bins = math.ceil(values.shape[0] / stride)
    missing = bins * stride - values.shape[0]
    return torch.nn.functional.pad(values, (0, 0, 0, missing), value=outside).reshape(bins, -1)
