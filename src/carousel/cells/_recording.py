"""Handing out what a run leaves behind, to whoever listens.

``with recording(sink):`` makes each run forward inside it, on the same thread, call
``sink.forward(saved)``. Where that returns a token, each backward pass through this run calls
``token.backward(passage)``, whenever and wherever it happens. Without a sink nothing more is
computed or kept than a run needs.

A layer is a stack of runs. ``offer(layer, sink, watcher)`` lets its next forward hand out its runs
to the sink, and what it has read for them all; any number of watchers may offer it one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from carousel.cells._cell import Weights
from carousel.cells._run import Arriving, Passed, Run, norms_of

__all__ = [
    "LayerSink",
    "NormToken",
    "Passage",
    "Saved",
    "Sink",
    "Token",
    "offer",
    "offered_to",
    "place_here",
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
    place: int = 0  # in the stack: layer by layer, in each its directions


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


class LayerSink(Sink, Protocol):
    """Who listens to a forward of a whole layer."""

    def begin(self, input: Any, weights: list[Weights]) -> None:  # noqa: A002 - torch's name
        """Take what the layer was called with and the weights that it read, run by run.

        A weight that is parametrized may be another, or change the module, each time it is read.
        """


@dataclass(frozen=True)
class _Offer:
    owner: weakref.ref[object]
    sink: LayerSink
    watcher: object


class _Here(threading.local):
    sink: Sink | None = None
    place: int = 0

    def __init__(self) -> None:
        self.offers: list[_Offer] = []


_here = _Here()


def sink_here() -> Sink | None:
    """The sink of this thread."""
    return _here.sink


def place_here() -> int:
    """The place of this thread's run in its stack."""
    return _here.place


@contextmanager
def recording(sink: Sink | None, place: int = 0) -> Iterator[None]:
    """Hand out what runs leave behind, within the block and on this thread; None: to nobody.

    Args:
        sink: who gets it.
        place: of the runs inside, in the stack of their layer.
    """
    before = _here.sink, _here.place
    _here.sink, _here.place = sink, place
    try:
        yield
    finally:
        _here.sink, _here.place = before


def offer(owner: object, sink: LayerSink, watcher: object) -> None:
    """Let the next forward of ``owner`` on this thread, and no other, hand out its runs.

    What the same watcher offered to it before is taken back: a forward that failed has not come
    for it.
    """
    _here.offers = [
        offered
        for offered in _here.offers
        if offered.owner() is not None
        and not (offered.owner() is owner and offered.watcher is watcher)
    ]
    _here.offers.append(_Offer(weakref.ref(owner), sink, watcher))


def offered_to(owner: object) -> LayerSink | None:
    """Who listens to this forward of ``owner``: all that was offered to it, which is taken."""
    if not _here.offers:
        return None
    sinks = [offered.sink for offered in _here.offers if offered.owner() is owner]
    _here.offers = [offered for offered in _here.offers if offered.owner() is not owner]
    if len(sinks) < 2:
        return sinks[0] if sinks else None
    return _Sinks(sinks)


def withdraw(watcher: object) -> None:
    """Take back what a watcher offered on this thread and no forward has come for."""
    _here.offers = [offered for offered in _here.offers if offered.watcher is not watcher]


class _Sinks:
    """Several that listen to the same forward."""

    def __init__(self, sinks: list[LayerSink]) -> None:
        self.sinks = sinks

    def begin(self, input: Any, weights: list[Weights]) -> None:  # noqa: A002 - as LayerSink
        for sink in self.sinks:
            sink.begin(input, weights)

    def forward(self, saved: Saved) -> Token | NormToken | None:
        tokens = [token for sink in self.sinks if (token := sink.forward(saved)) is not None]
        if len(tokens) < 2:
            return tokens[0] if tokens else None
        of_norms = [token for token in tokens if isinstance(token, NormToken)]
        if len(of_norms) == len(tokens):
            return _NormTokens(of_norms)
        return _Tokens(tokens)


@dataclass(frozen=True)
class _NormTokens:
    """Several tokens, all for the norms alone."""

    tokens: list[NormToken]

    def norms(self, norms: Tensor) -> None:
        for token in self.tokens:
            token.norms(norms)


@dataclass(frozen=True)
class _Tokens:
    """Several tokens, of which at least one wants the gradients themselves."""

    tokens: list[Token | NormToken]

    def backward(self, passage: Passage) -> None:
        for token in self.tokens:
            if isinstance(token, NormToken):
                token.norms(norms_of(passage.d_h, passage.d_c))
            else:
                token.backward(passage)
