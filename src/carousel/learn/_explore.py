"""The explorer's numbers: the gradient over time of two networks, measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from carousel.flow import LayerFlow, measure
from carousel.learn._settings import (
    Network,
    Settings,
    Unused,
    ignored,
    loss_of,
    network,
    signal,
    spoken,
    unused,
)
from carousel.report import Level, level

__all__ = ["Curves", "Exploration", "explore", "levels", "measured"]


@dataclass(frozen=True)
class Curves:
    """log10 of norms over the units by step, of one network."""

    name: str  # in a few words
    d_h: tuple[Level, ...]  # ||dL/dh_t||
    d_c: tuple[Level, ...]  # ||dL/dc_t||; empty for a cell without c
    carousel: tuple[Level, ...]  # of the part that came along the carousel alone; empty for an RNN
    smallest_log10: float  # below it, float32 has no normal number
    largest_log10: float  # above it, float32 has no number
    unused: tuple[Unused, ...]  # settings that mean nothing for this cell
    ignored: tuple[str, ...]  # the reasons of those among them that were set


@dataclass(frozen=True)
class Exploration:
    """What the first figure of the explorer shows."""

    first: Curves
    second: Curves
    loss_step: int  # where the only loss is, or the last one


def explore(settings: Settings, proceed: Callable[[], None] = lambda: None) -> Exploration:
    """Measure both networks."""
    first = curves(settings.first, settings)
    proceed()
    second = curves(settings.second, settings)
    last = settings.steps - 1
    return Exploration(first, second, last // 2 if settings.loss == "middle" else last)


def measured(one: Network, settings: Settings) -> LayerFlow:
    """One of the networks, run forward and back."""
    layer = network(one, settings.steps, settings.seed)
    x = signal(settings)
    return measure(layer, lambda: loss_of(layer(x)[0], settings.loss))["l0"]


def curves(one: Network, settings: Settings) -> Curves:
    """The gradients of one network by step."""
    return _curves(one, replace(settings, first=Network(), second=Network()))


@lru_cache(maxsize=32)  # a slider of one network leaves the other one as it was
def _curves(one: Network, settings: Settings) -> Curves:
    layer = measured(one, settings)
    alone = carousel_alone(layer)
    float32 = torch.finfo(torch.float32)
    return Curves(
        name=spoken(one),
        d_h=levels(layer.log10_norm("d_h")),
        d_c=() if layer.c is None else levels(layer.log10_norm("d_c")),
        carousel=() if alone is None else levels(alone),
        smallest_log10=math.log10(float32.tiny),
        largest_log10=math.log10(float32.max),
        unused=unused(one),
        ignored=ignored(one),
    )


def carousel_alone(layer: LayerFlow) -> Tensor | None:
    """log10 ||.|| of what the carousel alone would carry, [T, B]; None for a simple RNN.

        v_t = injected_t + keep_{t+1} * v_{t+1}

    What ``layer.paths().log10_norm("carousel")`` is, in one scan: a slider waits for it.
    ``keep`` is f, z of a GRU, 1 in 1997. The products are sums of logarithms, so they have no
    smallest number; where several steps inject, no sum is far below what its own step injects, and
    float64 is wide enough.
    """
    gates, trace = layer.gates, layer.trace
    if layer.c is None and "z" not in gates:
        return None
    injected = layer.d_h_injected.double()
    if layer.c is not None:
        one = trace.cell.linearise(trace.trajectory, trace.weights, trace.gradient == "1997")
        assert one.c_from_h is not None
        injected = injected * one.c_from_h.double()
    keep = gates.get("f", gates.get("z"))
    keep = torch.ones_like(injected) if keep is None else keep.double()
    where = (injected != 0).flatten(1).any(1).nonzero().flatten().tolist()
    if len(where) > 1:
        sums: Tensor = torch.linalg.vector_norm(_over_all(injected, keep), dim=-1)
        return sums.log10()
    log = torch.full_like(injected, -math.inf)
    if where:
        at = where[0]
        back = torch.cat([injected[at].abs().log()[None], keep[1 : at + 1].flip(0).log()])
        log[: at + 1] = back.cumsum(0).flip(0)
    norms: Tensor = torch.logsumexp(2 * log, dim=-1) / (2 * math.log(10))
    return norms


def _over_all(injected: Tensor, keep: Tensor) -> Tensor:
    found = injected.clone()
    rows = found.unbind(0)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(keep[t + 1], rows[t + 1])
    return found


def levels(log10: Tensor) -> tuple[Level, ...]:
    """By step, of the only sequence."""
    return tuple(level(value) for value in log10[:, 0].tolist())
