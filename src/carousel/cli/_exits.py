"""Exit codes, and how errors become them: nowhere else are errors caught for good."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import typer

from carousel._errors import CarouselError

__all__ = ["INTERRUPTED", "USAGE", "WRONG", "exits", "places"]

WRONG = 1  # something is wrong with what was measured
USAGE = 2  # wrong usage or input
INTERRUPTED = 130  # by Ctrl-C: 128 + the number of the signal, as shells have it

MOST_FRAMES = 5  # of the user's code, where it raised

P = ParamSpec("P")


def exits(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command of a function that returns an exit code and raises ``CarouselError``."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except CarouselError as error:
            typer.echo(f"carousel: {error}{places(error.__cause__)}", err=True)
            code = USAGE
        except KeyboardInterrupt:
            typer.echo("\ncarousel: interrupted", err=True)
            code = INTERRUPTED
        raise typer.Exit(code)

    return run


def places(error: BaseException | None) -> str:
    """The lines of the user's own code that an error came from, one below the other."""
    if error is None:
        return ""
    ours = str(Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen"))
        and not {"importlib", "torch"} & set(Path(frame.filename).parts)
    ]
    return "".join(f"\n  at {f.filename}:{f.lineno} in {f.name}" for f in frames[-MOST_FRAMES:])
