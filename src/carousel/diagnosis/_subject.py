"""What the rules look at: a flow, and what its user knows beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import SupportsIndex

import torch
from torch import Tensor

from carousel._errors import CarouselError, kind_of
from carousel.flow import Flow, LayerFlow

__all__ = ["ClippingRecord", "Place", "Subject", "subject_of"]

LEAST_NORMS = 10  # fewer steps than these say nothing about "nearly every step"
NAME = re.compile(r"(?:(?P<path>.*)\.)?l(?P<layer>\d+)(?P<reverse>_reverse)?(?P<number>#\d+)?")


@dataclass(frozen=True)
class ClippingRecord:
    """How a training clips its gradients, which no flow can know: clipping comes after backward.

    Attributes:
        max_norm: what ``torch.nn.utils.clip_grad_norm_`` is given.
        norms: what it returned, step by step: the norm of all parameters' gradients before it.

    Raises:
        CarouselError: the numbers are not such.
    """

    max_norm: float
    norms: Sequence[float]

    def __post_init__(self) -> None:
        if not self.max_norm > 0:
            raise CarouselError(
                f"Expected max_norm above 0, as clip_grad_norm_ takes it, got {self.max_norm!r}."
            )
        if len(self.norms) < LEAST_NORMS:
            raise CarouselError(
                f"Expected the gradient norms of at least {LEAST_NORMS} training steps, got "
                f"{len(self.norms)}. clip_grad_norm_ returns the norm before clipping: collect it."
            )


@dataclass(frozen=True)
class Place:
    """Where a layer stands: "encoder.lstm.l1_reverse#2" taken apart."""

    path: str  # of the module, "" for the model itself
    layer: int  # in a stack; 0 for a cell
    reverse: bool
    number: str  # "#2" for the second of several unrelated calls, else ""


@dataclass(frozen=True, eq=False)
class Subject:
    """A flow under examination."""

    flow: Flow
    lag_steps: int | None = None  # how far back the task has to see; None where nobody said
    lengths: Tensor | None = None  # [B] int64, valid steps of the sequences, where they are known
    clipping: ClippingRecord | None = None

    @property
    def layers(self) -> tuple[LayerFlow, ...]:
        """All layers of the flow."""
        return tuple(self.flow.layers.values())

    @property
    def derived(self) -> tuple[LayerFlow, ...]:
        """The layers whose gates and weights are known: not those measured as a function."""
        return tuple(layer for layer in self.layers if layer.trace.cell.derived)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where each layer stands, by its name."""
        return {name: place_of(name) for name in self.flow}


def place_of(name: str) -> Place:
    """Take a layer's name apart; what does not end in torch's suffix is a cell."""
    found = NAME.fullmatch(name)
    if found is None:
        path, _, number = name.partition("#")
        return Place(path, 0, reverse=False, number=f"#{number}" if number else "")
    return Place(
        found["path"] or "", int(found["layer"]), bool(found["reverse"]), found["number"] or ""
    )


def subject_of(
    flow: Flow,
    lag: int | None,
    lengths: Tensor | Sequence[int] | None,
    clipping: ClippingRecord | None,
) -> Subject:
    """Check what was given beside the flow.

    Raises:
        CarouselError: it is not what it should be.
    """
    if not isinstance(flow, Flow):
        raise CarouselError(
            f"Expected a Flow to diagnose, got {kind_of(flow)}. "
            "carousel.measure(model, batch, loss_fn) gives one, and so does watcher.flow."
        )
    if isinstance(lag, SupportsIndex) and not isinstance(lag, bool):
        lag = index(lag)  # NumPy's whole numbers too
    if lag is not None and (type(lag) is not int or lag < 1):
        raise CarouselError(
            f"Expected lag to be the number of steps that the task needs, a whole number from 1 "
            f"on, or None, got {lag!r}."
        )
    if clipping is not None and not isinstance(clipping, ClippingRecord):
        raise CarouselError(
            f"Expected clipping to be a carousel.diagnosis.ClippingRecord(max_norm, norms), got a "
            f"{type(clipping).__name__}."
        )
    return Subject(flow, lag, _lengths(flow, lengths), clipping)


def _lengths(flow: Flow, lengths: Tensor | Sequence[int] | None) -> Tensor | None:
    if lengths is None:
        return None
    found = torch.as_tensor(lengths).to("cpu", torch.int64).flatten()
    batches = sorted({layer.batch for layer in flow.layers.values()})
    if len(found) not in batches or bool((found < 1).any()):
        raise CarouselError(
            f"Expected lengths to hold the valid steps of each sequence, from 1 on, for a batch of "
            f"{' or '.join(map(str, batches))}, got {found.tolist()[:8]} ({len(found)} in all)."
        )
    return found
