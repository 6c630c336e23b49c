"""The itemised gradient of one network: which step's loss sent how much of dL/dh_t."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from carousel.flow import LayerFlow
from carousel.learn._explore import measured
from carousel.learn._settings import Settings, spoken
from carousel.report import Level, level

__all__ = ["Matrix", "MatrixRequest", "matrix"]

FAR = 50
MOST = 200  # rows, and columns; of longer sequences every n-th step is shown


@dataclass(frozen=True)
class MatrixRequest:
    """Of one of the two networks."""

    settings: Settings = field(default_factory=lambda: Settings(loss="every"))
    which: Literal["first", "second"] = "first"


@dataclass(frozen=True)
class Matrix:
    """G[t_loss, t], a row for each loss step that is shown, a column for each step."""

    name: str
    losses: tuple[int, ...]
    steps: tuple[int, ...]
    log10: tuple[Level, ...]  # row after row; "padding" after the step of the loss
    own: float | None  # the median share in dL/dh_t of the loss at t itself; None: no number
    far_steps: int  # steps between a loss and the first step, beyond which it counts as far
    far: float | None  # the share in dL/dh_0 of all losses that are far; None: no number, or none


def matrix(request: MatrixRequest, proceed: Callable[[], None] = lambda: None) -> Matrix:
    """Follow each step's loss back."""
    settings = request.settings
    one = settings.first if request.which == "first" else settings.second
    layer = measured(one, settings)
    proceed()
    width = math.ceil(settings.steps / MOST)
    # With one loss, its step is among those that are shown; else the last one is.
    last = settings.steps - 1
    at = {"last": last, "middle": last // 2, "every": last}[settings.loss]
    shown = range(at % width, settings.steps, width)
    found = layer.itemised(list(shown))
    norms = found.log10_h[:, list(shown), 0]
    log10 = [
        level(value) if at <= row else "padding"
        for row, values in enumerate(norms.tolist())
        for at, value in enumerate(values)
    ]
    own = found.share_h[torch.arange(len(shown)), list(shown), 0]
    share = float(own.nanmedian())
    return Matrix(
        name=spoken(one),
        losses=tuple(shown),
        steps=tuple(shown),
        log10=tuple(log10),
        own=share if math.isfinite(share) else None,
        far_steps=FAR,
        far=from_afar(layer),
    )


def from_afar(layer: LayerFlow) -> float | None:
    """How much of dL/dh_0 was sent by losses more than ``FAR`` steps later, shown or not."""
    losses = list(range(FAR + 1, layer.steps))
    if not losses:
        return None
    share = float(layer.itemised(losses, t_from=0, t_to=1).share_h[:, 0, 0].sum())
    return share if math.isfinite(share) else None
