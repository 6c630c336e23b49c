"""Exit codes, and how errors become them: nowhere else are errors caught for good."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer

from carousel._errors import CarouselError

__all__ = ["INTERRUPTED", "USAGE", "WRONG", "exits"]

WRONG = 1  # something is wrong with what was measured
USAGE = 2  # wrong usage or input
INTERRUPTED = 130  # by Ctrl-C: 128 + the number of the signal, as shells have it

P = ParamSpec("P")


def exits(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command of a function that returns an exit code and raises ``CarouselError``."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except CarouselError as error:
            typer.echo(f"carousel: {error}", err=True)
            code = USAGE
        except KeyboardInterrupt:
            typer.echo("\ncarousel: interrupted", err=True)
            code = INTERRUPTED
        raise typer.Exit(code)

    return run
