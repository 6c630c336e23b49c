"""What the page can ask for: one table of endpoints, each a request and the function that answers.

The routes, the TypeScript types and the static export are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carousel.learn import Exploration, Settings, explore, parse

__all__ = ["ENDPOINTS", "Endpoint", "answer"]

Proceed = Callable[[], None]  # called between parts of the work; raises where nobody waits any more


@dataclass(frozen=True)
class Endpoint:
    """One thing to ask for. ``run(request, proceed)`` gives the answer, a frozen dataclass."""

    request: type
    run: Callable[..., Any]
    result: type
    of_model: bool = False  # run(request, proceed, model): of what `carousel check --web` measured
    seconds: float = 10.0  # that it may compute; looked at whenever it proceeds


ENDPOINTS: dict[str, Endpoint] = {
    "explore": Endpoint(Settings, explore, Exploration),
}


def answer(name: str, body: object, proceed: Proceed = lambda: None, model: object = None) -> Any:
    """The answer: a frozen dataclass, or bytes where the endpoint answers in binary.

    Raises:
        CarouselError: the request is not one that the endpoint takes.
        KeyError: there is no such endpoint.
    """
    endpoint = ENDPOINTS[name]
    request: Any = parse(endpoint.request, body)
    if endpoint.of_model:
        return endpoint.run(request, proceed, model)
    return endpoint.run(request, proceed)
