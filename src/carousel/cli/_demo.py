"""``carousel demo``: a tanh RNN and an LSTM of the same size, trained and measured side by side."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from carousel.cli._exits import WRONG, exits

__all__ = ["demo"]

LONGEST_SECONDS = 600.0


class Data(StrEnum):
    """What can be learnt from."""

    digits = "digits"
    text = "text"


@exits
def demo(
    data: Annotated[
        Data,
        typer.Option(
            help="digits: handwritten digits, a pixel a step; text: Python's documentation, a "
            "character a step."
        ),
    ] = Data.digits,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each network.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and the order of the data.")] = 0,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, max=LONGEST_SECONDS, help="For training, both networks together."),
    ] = 60.0,
    html: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path(
        "carousel-demo.html"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> int:
    """Train a tanh RNN and an LSTM of the same size, and show both gradients through time.

    The loss that is measured is that of the last step alone, so the picture shows how far back one
    step's loss reaches.
    """
    # Not at the top of the file: these load torch and rich, which --help must not wait for.
    from carousel.cli._progress import announced
    from carousel.cli._side_by_side import side_by_side

    with announced() as progress:
        report = side_by_side(
            data.value, hidden_size=hidden, seed=seed, seconds=seconds, progress=progress
        )
        wrong = bool(report.faults)
    written = report.to_html(html)
    if as_json:
        typer.echo(report.to_json())
    else:
        report.print(details=False)
    typer.echo(f"HTML report: {written.resolve()}", err=as_json)
    return WRONG if wrong else 0
