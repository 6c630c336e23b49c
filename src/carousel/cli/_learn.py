"""``carousel learn``: the page, served on this machine or written to a folder."""

from __future__ import annotations

import contextlib
from dataclasses import fields, is_dataclass
from pathlib import Path
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
    folder: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FOLDER",
            help="Write the page to a folder, where it opens without a server and shows what was "
            "computed for it, and leave.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Let --host be an address that others can reach."),
    ] = False,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="What other machines call this one; again for another name."),
    ] = None,
    lock: Annotated[
        list[str] | None,
        typer.Option(
            help="A control of the explorer that stays as it is, such as first.cell; again for "
            "another one."
        ),
    ] = None,
) -> int:
    """Open the page that teaches all of this with real networks; Ctrl-C ends it.

    The address that is printed lets a browser in; nobody without it is answered.
    """
    from carousel.serve import serve

    if folder is not None:
        write(folder)
        typer.echo(f"Carousel's page: {folder / 'index.html'}")
        return 0
    if allow_remote:
        typer.echo(
            "carousel: other machines can reach this server. Nothing that it sends is encrypted: "
            "who can read the network's traffic can read the token, and ask for computations.",
            err=True,
        )
    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
        serve(
            lambda address: typer.echo(f"Carousel's page: {address}"),
            port,
            browser=browser,
            at=f"#/explorer?v=1&lock={','.join(known(lock))}" if lock else "",
            host=host,
            names=names or (),
            allow_remote=allow_remote,
        )
    return 0


def write(folder: Path) -> None:
    """Export the page, and tell how far that is."""
    from carousel.cli._progress import announced
    from carousel.learn import EXPORTED
    from carousel.serve import export

    with announced() as announce:
        export(folder, tell=lambda count: announce("answers", count / len(EXPORTED), ""))


def known(lock: list[str]) -> list[str]:
    """The names of the controls, each one there.

    Raises:
        CarouselError: one is not.
    """
    from carousel._errors import CarouselError
    from carousel.learn import Settings

    controls = paths(Settings())
    for name in lock:
        if name not in controls:
            raise CarouselError(f"--lock {name}: expected one of {', '.join(controls)}.")
    return lock


def paths(settings: object, prefix: str = "") -> list[str]:
    """The fields of a request as the page's address names them."""
    found: list[str] = []
    for field in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        name = prefix + field.name
        found += paths(value, f"{name}.") if is_dataclass(value) else [name]
    return found
