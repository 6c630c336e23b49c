"""Packages that only some functions need: loaded where used, and named where missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from carousel._errors import CarouselError

__all__ = ["optional"]


def optional(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: its full name, such as "matplotlib.pyplot".
        extra: of Carousel, which installs the package.
        purpose: what needs it, as the beginning of a sentence: "A plot".

    Raises:
        CarouselError: the package is not installed; the message names the extra.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        raise CarouselError(
            f"{purpose} needs {package}, which cannot be imported here ({error}). "
            f"Install it with: pip install 'carousel-rnn[{extra}]'"
        ) from error
