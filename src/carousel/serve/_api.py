"""What the page can ask for: one table of endpoints, each a request and the function that answers.

The routes, the TypeScript types and the static export are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carousel.learn import (
    AccuracySpec,
    AccuracyTable,
    Beginning,
    CellRun,
    CellSettings,
    Code,
    CodeRequest,
    Continuation,
    Exploration,
    Horizons,
    Lesson,
    LessonRequest,
    Matrix,
    MatrixRequest,
    ModelLayer,
    ModelLayerRequest,
    ModelMap,
    ModelMapRequest,
    ModelOverview,
    ModelProducts,
    ModelProductsRequest,
    ModelRequest,
    Nothing,
    Power,
    PowerRequest,
    Presets,
    Products,
    SentenceAnswer,
    SentenceSpec,
    Settings,
    Spectra,
    agreement_accuracy,
    ask_sentence,
    code,
    continue_sentence,
    explore,
    horizons,
    lesson,
    matrix,
    model_layer,
    model_map,
    model_overview,
    model_products,
    parse,
    power,
    presets,
    products,
    run_cell,
    spectra,
)
from carousel.learn.quiz import Bank, BankRequest, bank

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
    "agreement": Endpoint(AccuracySpec, agreement_accuracy, AccuracyTable),
    "cell": Endpoint(CellSettings, run_cell, CellRun),
    "code": Endpoint(CodeRequest, code, Code),
    "continue": Endpoint(Beginning, continue_sentence, Continuation),
    "explore": Endpoint(Settings, explore, Exploration),
    "horizons": Endpoint(Settings, horizons, Horizons),
    "lesson": Endpoint(LessonRequest, lesson, Lesson),
    "matrix": Endpoint(MatrixRequest, matrix, Matrix),
    "model": Endpoint(ModelRequest, model_overview, ModelOverview, of_model=True),
    "model_layer": Endpoint(ModelLayerRequest, model_layer, ModelLayer, of_model=True),
    "model_map": Endpoint(ModelMapRequest, model_map, ModelMap, of_model=True),
    "model_products": Endpoint(
        ModelProductsRequest, model_products, ModelProducts, of_model=True, seconds=60
    ),
    "power": Endpoint(PowerRequest, power, Power),
    "presets": Endpoint(Nothing, presets, Presets),
    "products": Endpoint(Settings, products, Products),
    "quiz": Endpoint(BankRequest, lambda _request, _proceed: bank(), Bank),
    "sentence": Endpoint(SentenceSpec, ask_sentence, SentenceAnswer),
    "spectra": Endpoint(Settings, spectra, Spectra),
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
