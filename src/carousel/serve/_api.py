"""What the page can ask for: one table of endpoints, each a request and the function that answers.

The routes, the TypeScript types and the static export are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from carousel.learn import (
    AccuracySpec,
    AccuracyTable,
    Beginning,
    Continuation,
    Exploration,
    SentenceAnswer,
    SentenceSpec,
    Settings,
    agreement_accuracy,
    ask_sentence,
    continue_sentence,
    explore,
    parse,
)

__all__ = ["ENDPOINTS", "Endpoint", "answer"]

Proceed = Callable[[], None]  # called between parts of the work; raises where nobody waits any more


@dataclass(frozen=True)
class Endpoint:
    """One thing to ask for. ``run(request, proceed)`` gives the answer, a frozen dataclass."""

    request: type
    run: Callable[[Any, Proceed], Any]
    result: type


ENDPOINTS: dict[str, Endpoint] = {
    "explore": Endpoint(Settings, explore, Exploration),
    "sentence": Endpoint(SentenceSpec, ask_sentence, SentenceAnswer),
    "continue": Endpoint(Beginning, continue_sentence, Continuation),
    "agreement": Endpoint(AccuracySpec, agreement_accuracy, AccuracyTable),
}


def answer(name: str, body: object, proceed: Proceed = lambda: None) -> Any:
    """The answer as plain data for JSON.

    Raises:
        CarouselError: the request is not one that the endpoint takes.
        KeyError: there is no such endpoint.
    """
    endpoint = ENDPOINTS[name]
    return asdict(endpoint.run(parse(endpoint.request, body), proceed))
