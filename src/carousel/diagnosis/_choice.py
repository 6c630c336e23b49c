"""Which of the remedies that findings bring to try on a model, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis._finding import Finding
from carousel.diagnosis._pieces import crosses
from carousel.diagnosis._trial import copied
from carousel.diagnosis.remedies import Remedy
from carousel.diagnosis.remedies._places import path_and_suffix, without_number
from carousel.flow import Flow, LayerFlow, measure

__all__ = ["candidates", "folds_over", "promises"]


def candidates(
    findings: Sequence[Finding], flow: Flow, *, trained: bool = False, whole: bool = True
) -> tuple[Remedy, ...]:
    """The remedies of the findings in their order, each once.

    Where all layers of a module have a finding, its remedy is one for the module, and where all
    that the model has have it, one for the model.

    Args:
        findings: of this flow, the worst first.
        flow: that was diagnosed.
        trained: the weights are worth keeping: only remedies that keep them.
        whole: the flow holds every recurrent module that the model has.
    """
    chosen: list[Remedy] = []
    for finding in findings:
        for own in finding.remedies:
            remedy = _common(own, finding, findings, flow, whole=whole)
            if (remedy.keeps_weights or not trained) and not _covered(remedy, chosen):
                chosen.append(remedy)
    return tuple(chosen)


def _common(
    remedy: Remedy, finding: Finding, findings: Sequence[Finding], flow: Flow, *, whole: bool
) -> Remedy:
    """The remedy for all layers that have the finding, where one name stands for them."""
    if not remedy.layer:
        return remedy
    alike = [other for other in findings if other.rule == finding.rule]
    ill = {without_number(other.layer) for other in alike}
    treated = {
        without_number(other.layer)
        for other in alike
        if any(_same(remedy, each) for each in other.remedies)
    }
    # From the traces: a cell at `model.l0` has a name that looks like a layer's.
    path_of = {without_number(name): layer.trace.path or "" for name, layer in flow.layers.items()}
    known = set(path_of)
    paths = {path_of[name] for name in treated}
    if whole and ill == known and len(paths) > 1:
        return replace(remedy, layer="")
    path = path_of[without_number(finding.layer)]
    module = {name for name in known if path_of[name] == path}
    if len(module) > 1 and module <= treated:
        return replace(remedy, layer=path)
    plain = without_number(remedy.layer)
    return remedy if plain == remedy.layer else replace(remedy, layer=plain)


def _same(one: Remedy, other: Remedy) -> bool:
    """Whether two remedies differ in nothing but the layer."""
    return replace(one, layer="") == replace(other, layer="")


def _covered(remedy: Remedy, chosen: Sequence[Remedy]) -> bool:
    """Whether the same remedy was chosen already, for this layer, its module or the model."""
    wider = (remedy.layer, path_and_suffix(remedy.layer)[0], "")
    return any(each.layer in wider and _same(each, remedy) for each in chosen)


def folds_over(layer: LayerFlow, lag_steps: int) -> float:
    """By how many e-folds the gradient grows over the lag in the long run; below 0 it fades.

    It is the lag in units of the horizon. Where the sequences are too short for a horizon, it is
    what is left at the lag itself, the directions that die at once included; where the state is
    detached more often, -inf: nothing crosses that.
    """
    if not crosses(layer, lag_steps):
        return -math.inf
    horizon = layer.horizon()
    if not math.isnan(horizon.rate) or lag_steps >= int(layer.lengths.max()):
        return horizon.rate * lag_steps
    return float(layer.reach(lag_steps).nanmedian()) * math.log(10)


def promises(
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[..., Tensor] | None,
    remedies: tuple[Remedy, ...],
    lag_steps: int,
) -> tuple[Remedy, ...]:
    """The remedies in the order of what they promise.

    What can be known without training comes first: for a remedy of the model the flow is measured
    with it applied, and the one comes first whose horizon is the longest, or with which the
    gradient grows the least. Those that cannot be measured, or give no rate, come behind them, and
    last those of the training loop, in the order of the findings.
    """
    known: list[tuple[float, int, Remedy]] = []
    unknown = []
    for place, remedy in enumerate(remedies):
        if not remedy.in_model:
            unknown.append(remedy)
            continue
        distance = _distance(model, batch, loss_fn, remedy, lag_steps)
        known.append((distance, place, remedy))
    return (*(remedy for _, _, remedy in sorted(known, key=lambda k: k[:2])), *unknown)


def _distance(
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[..., Tensor] | None,
    remedy: Remedy,
    lag_steps: int,
) -> float:
    """How many e-folds the gradient loses or gains over the lag, once the remedy is applied."""
    twin = copied(model)
    try:
        remedy.apply(twin)
        folds = folds_over(measure(twin, batch, loss_fn).slowest, lag_steps)
    except CarouselError:
        return math.inf
    return math.inf if math.isnan(folds) else abs(folds)
