"""``carousel learn``: the page, served on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from carousel.cli._exits import exits

__all__ = ["learn"]


@exits
def learn(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    browser: Annotated[
        bool,
        typer.Option("--browser/--no-browser", help="Open the page, or only print its address."),
    ] = True,
) -> int:
    """Open the page that teaches all of this with real networks; Ctrl-C ends it."""
    from carousel.serve import serve

    serve(lambda address: typer.echo(f"Carousel's page: {address}"), port, browser=browser)
    return 0
