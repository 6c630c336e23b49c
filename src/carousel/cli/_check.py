"""``carousel check``: a user's own model, measured once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carousel.cli._exits import WRONG, exits

__all__ = ["check"]


@exits
def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FACTORY",
            help="A function that returns (model, batch, loss_fn); the current directory is "
            "searched for its module.",
        ),
    ],
    html: Annotated[Path | None, typer.Option(help="Write a report to this HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    seed: Annotated[
        int, typer.Option(help="Seed of torch's generator before the factory runs.")
    ] = 0,
) -> int:
    """Measure how the gradient flows back through time in a model of your own.

    Leaves with 0 if nothing is wrong, with 1 if a value or gradient is not finite or the
    measurement does not fit the model, and with 2 on wrong usage or input.
    """
    # Not at the top of the file: these load torch, which --help must not wait for.
    from carousel.cli._stdout import foreign_output_to_stderr
    from carousel.cli._target import load_target

    with foreign_output_to_stderr():
        import torch

        torch.manual_seed(seed)
        loaded = load_target(target)
        from carousel.flow import measure
        from carousel.report import Report

        report = Report(
            measure(loaded.model, loaded.batch, loaded.loss_fn),
            title=f"Gradients through time in {target}",
        )
        wrong = bool(report.faults)  # measures what is still to be measured
    written = report.to_html(html) if html is not None else None
    if as_json:
        typer.echo(report.to_json())
    else:
        report.print()
    if written is not None:
        typer.echo(f"HTML report: {written}", err=as_json)
    return WRONG if wrong else 0
