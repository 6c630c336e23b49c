"""What an exported page can show without a server, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from carousel.learn._agreement_accuracy import AccuracySpec
from carousel.learn._cell import CellSettings
from carousel.learn._code import CodeRequest
from carousel.learn._lesson import LessonRequest
from carousel.learn._lesson_networks import settings_of_figures
from carousel.learn._matrix import MatrixRequest
from carousel.learn._power import PowerRequest
from carousel.learn._presets import PRESETS, Nothing
from carousel.learn._sentences import SentenceSpec
from carousel.learn._settings import CELLS, Network, Settings
from carousel.learn.quiz import BankRequest, bank, settings_of

__all__ = ["EXPORTED"]

FACTORS = (0.5, 0.9, 1.0, 1.1, 2.0)  # of the multiplier, at its default number of steps


def requests() -> Iterator[tuple[str, Any]]:
    """Names of endpoints, and what they are asked."""
    yield "lesson", LessonRequest()
    yield "quiz", BankRequest()
    yield "presets", Nothing()
    yield "agreement", AccuracySpec()
    yield "sentence", SentenceSpec()
    for factor in FACTORS:
        yield "power", PowerRequest(factor)
    for cell in CELLS:
        yield "cell", CellSettings(Network(cell, hidden=CellSettings().network.hidden))
    for settings in explored():
        yield "explore", settings
        yield "horizons", settings
    for preset in PRESETS:
        yield "code", CodeRequest(preset.settings)
    yield "products", Settings()
    yield "spectra", Settings()
    every = Settings(loss="every")  # a preset, and where the figure of one loss leads to
    yield "matrix", MatrixRequest(every, "first")
    yield "matrix", MatrixRequest(every, "second")


def explored() -> list[Settings]:
    """What presets, figures of the lesson and links of the quiz set the explorer to, each once."""
    lesson = settings_of_figures()
    links = (question.link for question in bank().questions)
    found = [
        *(preset.settings for preset in PRESETS),
        *(getattr(lesson, field.name) for field in fields(lesson)),
        *(settings for settings in map(settings_of, links) if settings is not None),
    ]
    return list(dict.fromkeys(found))


EXPORTED: tuple[tuple[str, Any], ...] = tuple(requests())
