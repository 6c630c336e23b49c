"""``carousel check``: a user's own model, measured once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carousel._errors import CarouselError
from carousel.cli._exits import WRONG, exits

if TYPE_CHECKING:
    from carousel.learn import ModelView

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
    web: Annotated[
        bool,
        typer.Option("--web", help="Show it on Carousel's page, which is served until Ctrl-C."),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Where --web serves; by default any that is free."),
    ] = None,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser", help="With --web: open the page, or only print its address."
        ),
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Seed of torch's generator before the factory runs.")
    ] = 0,
) -> int:
    """Measure how the gradient flows back through time in a model of your own, and judge it.

    Leaves with 0 if nothing is wrong, with 1 on a finding of severity error, a value or gradient
    that is not finite, or a measurement that does not fit the model, and with 2 on wrong usage or
    input. Without --lag nothing about memory is an error. With --web it leaves so after Ctrl-C.
    """
    if web and as_json:
        raise CarouselError(
            "--json prints one JSON document and ends, --web serves until Ctrl-C: leave one of "
            "them out. --html goes with both."
        )
    if port is not None and not web:
        raise CarouselError("--port says where --web serves: add --web, or leave it out.")
    # Not at the top of the file: these load torch, which --help must not wait for.
    from carousel.cli._stdout import foreign_output_to_stderr
    from carousel.cli._target import load_target

    with foreign_output_to_stderr():
        import torch

        torch.manual_seed(seed)
        loaded = load_target(target)
        from carousel.diagnosis import diagnose
        from carousel.flow import measure
        from carousel.learn import ModelView
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
    if web:
        serve_until_interrupted(ModelView(target, flow, report, lag), port or 0, browser=browser)
    return WRONG if wrong else 0


def serve_until_interrupted(view: ModelView, port: int, *, browser: bool) -> None:
    """Show the model on the page. Ctrl-C ends that, and is no interruption of the check."""
    from carousel.serve import serve

    with contextlib.suppress(KeyboardInterrupt):
        serve(
            lambda address: typer.echo(f"Carousel's page: {address}"),
            port,
            browser=browser,
            at="#/model",
            model=view,
        )
