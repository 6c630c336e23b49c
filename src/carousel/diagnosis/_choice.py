"""Which remedies could help a model whose flow was measured, and which of them to try first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis._judgement import LEAST_GAIN, power
from carousel.diagnosis._trial import copied
from carousel.diagnosis.remedies import (
    CarryState,
    Chrono,
    Clipping,
    Flossing,
    ForgetBias,
    Identity,
    Orthogonal,
    PascanuOmega,
    Remedy,
    StateDtype,
    SwapToLSTM,
)
from carousel.diagnosis.remedies._places import path_and_suffix
from carousel.flow import Flow, LayerFlow, measure

__all__ = ["Trouble", "folds_over", "promises", "remedies_for", "troubles"]

Kind = Literal["fading", "growing", "narrow", "reset"]
NARROW = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Trouble:
    """What keeps a layer from the lag."""

    kind: Kind
    layer: str
    cell: str
    sentence: str


def troubles(flow: Flow, lag_steps: int) -> tuple[Trouble, ...]:
    """What stands between each layer and the lag.

    A gradient fades where the horizon is shorter than the lag: over the lag it loses more than a
    factor e. It grows where it gains as much.
    """
    return tuple(
        Trouble(kind, layer.name, layer.kind, sentence)
        for layer in flow.layers.values()
        for kind, sentence in _of_layer(layer, lag_steps)
    )


def _of_layer(layer: LayerFlow, lag_steps: int) -> list[tuple[Kind, str]]:
    found: list[tuple[Kind, str]] = []
    horizon, folds = layer.horizon(), folds_over(layer, lag_steps)
    said = f"over {lag_steps} steps the gradient changes by a factor of {power(folds)}. {horizon}"
    if folds < -LEAST_GAIN:
        found.append(("fading", said))
    if folds > LEAST_GAIN or horizon.kind == "nonfinite":
        found.append(("growing", said))
    if found and layer.dtype in NARROW:
        found.append(("narrow", f"the state is in {str(layer.dtype).removeprefix('torch.')}."))
    handed = layer.trace.handed_over
    if len(handed) and bool((handed == 0).all(-1).any()):
        found.append(("reset", "the state is set to zero between calls of one backward pass."))
    return found


def folds_over(layer: LayerFlow, lag_steps: int) -> float:
    """By how many e-folds the gradient grows over the lag in the long run; below 0 it fades.

    It is the lag in units of the horizon. Where the sequences are too short for a horizon, it is
    what is left at the lag itself, the directions that die at once included.
    """
    horizon = layer.horizon()
    if not math.isnan(horizon.rate) or lag_steps >= int(layer.lengths.max()):
        return horizon.rate * lag_steps
    return float(layer.reach(lag_steps).nanmedian()) * math.log(10)


Maker = Callable[[str, int], Remedy]


def _lstm_for_lag(layer: str, lag: int) -> Remedy:
    return SwapToLSTM(layer, max(2, lag))


def _chrono(layer: str, lag: int) -> Remedy:
    return Chrono(layer, max(2, lag))


def _forget_bias(layer: str, lag: int) -> Remedy:
    return ForgetBias.for_lag(layer, max(2, lag))


def _orthogonal(layer: str, _: int) -> Remedy:
    return Orthogonal(layer)


def _identity(layer: str, _: int) -> Remedy:
    return Identity(layer)


def _omega(layer: str, _: int) -> Remedy:
    return PascanuOmega(layer)


def _flossing(layer: str, _: int) -> Remedy:
    return Flossing(layer)


def _clipping(_: str, __: int) -> Remedy:
    return Clipping()


def _wider(layer: str, _: int) -> Remedy:
    return StateDtype(layer)


def _carry(layer: str, _: int) -> Remedy:
    return CarryState(layer)


# By the trouble and the cell; "" is every other cell. An LSTM's variants are found by their gates.
TABLE: dict[tuple[Kind, str], tuple[Maker, ...]] = {
    ("fading", "forget gate"): (_chrono, _forget_bias, _flossing, _omega),
    ("fading", "GRU"): (_chrono, _flossing, _omega),
    ("fading", "RNN tanh"): (_lstm_for_lag, _identity, _orthogonal, _flossing, _omega),
    ("fading", "RNN relu"): (_identity, _orthogonal, _flossing, _omega),
    ("fading", ""): (_orthogonal, _flossing, _omega),
    ("growing", "RNN tanh"): (_orthogonal, _identity, _lstm_for_lag, _clipping, _flossing, _omega),
    ("growing", "RNN relu"): (_identity, _orthogonal, _clipping, _flossing, _omega),
    ("growing", ""): (_orthogonal, _clipping, _flossing, _omega),
    ("narrow", ""): (_wider,),
    ("reset", ""): (_carry,),
}


def remedies_for(
    found: tuple[Trouble, ...], lag_steps: int, *, trained: bool = False
) -> tuple[Remedy, ...]:
    """The remedies of the table, each once; for trained weights those alone that keep them."""
    remedies: dict[Remedy, None] = {}
    for kind in ("reset", "narrow", "growing", "fading"):
        for family in dict.fromkeys(_family(each) for each in found if each.kind == kind):
            own = [each for each in found if each.kind == kind and _family(each) == family]
            makers = TABLE.get((kind, family)) or TABLE[kind, ""]
            for make in makers:
                remedies[make(_common(own), lag_steps)] = None
    return tuple(each for each in remedies if each.keeps_weights or not trained)


def _family(trouble: Trouble) -> str:
    if trouble.cell in ("LSTM", "LSTM peephole", "LSTM cifg", "LSTM nig", "LSTM nog"):
        return "forget gate"
    return trouble.cell


def _common(found: list[Trouble]) -> str:
    """One name for all layers that have a trouble: their own, their module's, or "" for all."""
    if len(found) == 1:
        return found[0].layer.partition("#")[0]
    paths = {path_and_suffix(each.layer)[0] for each in found}
    return paths.pop() if len(paths) == 1 else ""


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
    last those of the training loop, in the order of the table.
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
