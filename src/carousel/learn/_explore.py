"""The explorer's numbers: the gradient over time of two networks, measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.flow import measure
from carousel.learn._settings import Network, Settings, loss_of, network, signal
from carousel.report import Level, level

__all__ = ["Curves", "Exploration", "explore"]


@dataclass(frozen=True)
class Curves:
    """log10 of norms over the units by step, of one network."""

    d_h: tuple[Level, ...]  # ||dL/dh_t||
    d_c: tuple[Level, ...]  # ||dL/dc_t||; empty for a cell without c
    carousel: tuple[Level, ...]  # of the part that came along the carousel alone; empty for an RNN
    smallest_log10: float  # below it, float32 has no normal number


@dataclass(frozen=True)
class Exploration:
    """What the first figure of the explorer shows."""

    first: Curves
    second: Curves


def explore(settings: Settings, proceed: Callable[[], None] = lambda: None) -> Exploration:
    """Measure both networks."""
    first = curves(settings.first, settings)
    proceed()
    return Exploration(first, curves(settings.second, settings))


def curves(one: Network, settings: Settings) -> Curves:
    """The gradients of one network by step."""
    layer = network(one, settings.steps, settings.seed)
    x = signal(settings)
    flow = measure(layer, lambda: loss_of(layer(x)[0], settings.loss))["l0"]
    ways = flow.paths()
    return Curves(
        d_h=levels(flow.log10_norm("d_h")),
        d_c=levels(flow.log10_norm("d_c")) if ways.state == "c" else (),
        carousel=() if ways.carousel is None else levels(ways.log10_norm("carousel")),
        smallest_log10=math.log10(torch.finfo(torch.float32).tiny),
    )


def levels(log10: Tensor) -> tuple[Level, ...]:
    """By step, of the only sequence."""
    return tuple(level(value) for value in log10[:, 0].tolist())
