"""Carousel: the gradient's way through time in recurrent networks, exact and visible.

The names below load when they are first used, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from carousel._errors import CarouselError

if TYPE_CHECKING:
    from carousel.flow import Flow, measure, watch
    from carousel.report import Report

__all__ = ["CarouselError", "Flow", "Report", "measure", "watch"]

HOMES = {
    "Flow": "carousel.flow",
    "Report": "carousel.report",
    "measure": "carousel.flow",
    "watch": "carousel.flow",
}

try:
    __version__ = version("carousel-rnn")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'carousel' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
