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
    lag: Annotated[
        int | None,
        typer.Option(min=1, help="Steps that the task has to remember; memory is held against it."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report to this HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    seed: Annotated[
        int, typer.Option(help="Seed of torch's generator before the factory runs.")
    ] = 0,
) -> int:
    """Measure how the gradient flows back through time in a model of your own, and judge it.

    Leaves with 0 if nothing is wrong, with 1 on a finding of severity error, a value or gradient
    that is not finite, or a measurement that does not fit the model, and with 2 on wrong usage or
    input. Without --lag nothing about memory is an error.
    """
    # Not at the top of the file: these load torch, which --help must not wait for.
    from carousel.cli._stdout import foreign_output_to_stderr
    from carousel.cli._target import load_target

    with foreign_output_to_stderr():
        import torch

        torch.manual_seed(seed)
        loaded = load_target(target)
        from carousel.diagnosis import diagnose
        from carousel.flow import measure
        from carousel.report import Report, tally

        flow = measure(loaded.model, loaded.batch, loaded.loss_fn)
        findings = diagnose(flow, lag)
        report = Report(
            flow,
            title=f"Gradients through time in {target}",
            summary=tally(findings, lag),
            findings=findings,
        )
        severe = any(finding.severity == "error" for finding in findings)
        wrong = severe or bool(report.faults)  # measures what is still to be measured
    written = report.to_html(html) if html is not None else None
    if as_json:
        typer.echo(report.to_json())
    else:
        report.print()
    if written is not None:
        typer.echo(f"HTML report: {written}", err=as_json)
    return WRONG if wrong else 0
