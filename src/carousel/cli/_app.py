"""The command line: ``carousel demo``, ``check``, ``fix``, ``bench``, ``learn`` and ``quiz``.

Nothing heavy is imported while these modules load: ``carousel --help`` must answer at once. torch,
numpy, rich and jinja2 come in inside the commands, when one of them runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from carousel.cli._bench import bench
from carousel.cli._check import check
from carousel.cli._demo import demo
from carousel.cli._exits import INTERRUPTED
from carousel.cli._fix import fix
from carousel.cli._learn import learn
from carousel.cli._quiz import quiz

__all__ = ["app", "main"]

app = typer.Typer(
    name="carousel",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # formatted help would import rich, which takes longer than all the rest
)
app.command()(demo)
app.command()(check)
app.command()(fix)
app.command()(bench)
app.command()(learn)
app.command()(quiz)


def main() -> None:
    """Run the command line and leave with its exit code.

    0 nothing wrong, 1 something is wrong with what was measured, 2 wrong usage or input,
    130 interrupted.
    """
    try:
        app()
    except KeyboardInterrupt:  # before or after a command's own work
        raise SystemExit(INTERRUPTED) from None


def print_version(wanted: bool) -> None:
    """Print the version and leave, if that was asked for."""
    if wanted:
        from carousel import __version__

        typer.echo(f"carousel {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """The gradient's way through time in a recurrent network, exact and visible."""
    del version  # its callback has seen to it
