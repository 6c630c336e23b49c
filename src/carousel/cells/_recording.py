"""Handing out what a run leaves behind, to whoever listens.

``with recording(sink):`` makes each run forward inside it, on the same thread, call
``sink.forward(saved)``. Where that returns a token, each backward pass through this run calls
``token.backward(passage)``, whenever and wherever it happens. Without a sink nothing more is
computed or kept than a run needs.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from carousel.cells._run import Arriving, Passed, Run

__all__ = [
    "NormToken",
    "Passage",
    "Saved",
    "Sink",
    "Token",
    "offer",
    "offered_to",
    "recording",
    "sink_here",
    "withdraw",
]


@dataclass(frozen=True)
class Saved:
    """One run as it went forward. The tensors are the run's own, without their graph."""

    run: Run  # the cell, the input, the weights, the first states and the layout
    passed: Passed  # gates, q and c are None where the run is to be computed again (checkpointing)
    keep_every: int  # 1, or the steps of a segment where only the states between are kept


@dataclass(frozen=True)
class Passage:
    """What one backward pass brought to a run and made of it; rows in the layout of the input."""

    arriving: Arriving  # from outside
    d_h: Tensor  # [.., P]  the total dL/dh_t
    d_c: Tensor | None  # [.., H]  with what reaches c_t through h_t; None for cells without c
    d_a: Tensor  # [.., G, H]  on the pre-activations, where the input meets them
    d_h_0: Tensor  # [B, P]
    d_c_0: Tensor | None  # [B, H]


class Token(Protocol):
    """What a sink makes of one run, to be told of its backward passes."""

    def backward(self, passage: Passage) -> None:
        """Take what one backward pass brought and made."""


@runtime_checkable
class NormToken(Protocol):
    """The same, to be told of the norms alone."""

    def norms(self, norms: Tensor) -> None:
        """Take the Euclidean norms of dL/dh_t and dL/dc_t, [.., 2] float64."""


class Sink(Protocol):
    """Who listens."""

    def forward(self, saved: Saved) -> Token | NormToken | None:
        """Take a run that has gone forward and may be followed back; None: it is of no interest."""


class _Here(threading.local):
    sink: Sink | None = None
    offer: tuple[weakref.ref[object], Sink] | None = None


_here = _Here()


def sink_here() -> Sink | None:
    """The sink of this thread."""
    return _here.sink


@contextmanager
def recording(sink: Sink | None) -> Iterator[None]:
    """Hand out what runs leave behind, within the block and on this thread; None: to nobody."""
    before = _here.sink
    _here.sink = sink
    try:
        yield
    finally:
        _here.sink = before


def offer(owner: object, sink: Sink) -> None:
    """Let the next forward of ``owner`` on this thread, and no other, hand out its runs."""
    _here.offer = (weakref.ref(owner), sink)


def offered_to(owner: object) -> Sink | None:
    """Who listens to ``owner`` now: who was offered to it, else the sink of this thread."""
    offered, _here.offer = _here.offer, None
    if offered is not None and offered[0]() is owner:
        return offered[1]
    return _here.sink


def withdraw() -> None:
    """Take back what is offered on this thread: a forward that failed has not come for it."""
    _here.offer = None
