"""What the page can ask for: one table of endpoints, each a request and the function that answers.

The routes, the TypeScript types and the static export are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from carousel.learn import (
    Exploration,
    ModelLayer,
    ModelLayerRequest,
    ModelMap,
    ModelMapRequest,
    ModelOverview,
    ModelProducts,
    ModelProductsRequest,
    ModelRequest,
    Settings,
    explore,
    model_layer,
    model_map,
    model_overview,
    model_products,
    parse,
)

__all__ = ["ENDPOINTS", "Endpoint", "answer"]

Proceed = Callable[[], None]  # called between parts of the work; raises where nobody waits any more


@dataclass(frozen=True)
class Endpoint:
    """One thing to ask for. ``run(request, proceed)`` gives the answer, a frozen dataclass."""

    request: type
    run: Callable[..., Any]
    result: type
    of_model: bool = False  # run(request, proceed, model): of what `carousel check --web` measured


ENDPOINTS: dict[str, Endpoint] = {
    "explore": Endpoint(Settings, explore, Exploration),
    "model": Endpoint(ModelRequest, model_overview, ModelOverview, of_model=True),
    "model_layer": Endpoint(ModelLayerRequest, model_layer, ModelLayer, of_model=True),
    "model_map": Endpoint(ModelMapRequest, model_map, ModelMap, of_model=True),
    "model_products": Endpoint(ModelProductsRequest, model_products, ModelProducts, of_model=True),
}


def answer(name: str, body: object, proceed: Proceed = lambda: None, model: object = None) -> Any:
    """The answer as plain data for JSON.

    Raises:
        CarouselError: the request is not one that the endpoint takes.
        KeyError: there is no such endpoint.
    """
    endpoint = ENDPOINTS[name]
    request: Any = parse(endpoint.request, body)
    more = (model,) if endpoint.of_model else ()
    return asdict(endpoint.run(request, proceed, *more))
