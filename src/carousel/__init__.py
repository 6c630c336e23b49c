"""Carousel: the gradient's way through time in recurrent networks, exact and visible.

The names below load when they are first used, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from carousel._errors import CarouselError

if TYPE_CHECKING:
    from carousel import init, theory
    from carousel.diagnosis import Finding, Remedy, diagnose, fix, verify
    from carousel.flow import Flow, measure, measure_cell, watch, watch_norms
    from carousel.layers import GRU, LSTM, RNN, accelerate
    from carousel.report import Report

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CarouselError",
    "Finding",
    "Flow",
    "Remedy",
    "Report",
    "accelerate",
    "diagnose",
    "fix",
    "init",
    "measure",
    "measure_cell",
    "theory",
    "verify",
    "watch",
    "watch_norms",
]

HOMES = {
    "GRU": "carousel.layers",
    "LSTM": "carousel.layers",
    "RNN": "carousel.layers",
    "Finding": "carousel.diagnosis",
    "Flow": "carousel.flow",
    "Remedy": "carousel.diagnosis",
    "Report": "carousel.report",
    "accelerate": "carousel.layers",
    "diagnose": "carousel.diagnosis",
    "fix": "carousel.diagnosis",
    "measure": "carousel.flow",
    "measure_cell": "carousel.flow",
    "verify": "carousel.diagnosis",
    "watch": "carousel.flow",
    "watch_norms": "carousel.flow",
}

FOLDERS = ("init", "theory")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes a while to load, and is seldom asked for

        return version("carousel-rnn")
    if name in FOLDERS:
        return import_module(f"carousel.{name}")
    if name not in HOMES:
        raise AttributeError(f"module 'carousel' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES, *FOLDERS})
