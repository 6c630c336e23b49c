"""``carousel fix``: remedies for a user's own model, tried and proved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carousel.cli._exits import WRONG, exits

__all__ = ["fix"]


@exits
def fix(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FACTORY",
            help="A function that returns (model, batch, loss_fn), or a fourth, train_step(model) "
            "-> step; the current directory is searched for its module.",
        ),
    ],
    lag: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps back that the task needs to see; by default all of the batch's."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each trial.")] = 200,
    most: Annotated[int, typer.Option(min=1, help="Remedies that are tried at most.")] = 4,
    trained: Annotated[
        bool,
        typer.Option("--trained", help="The weights are worth keeping: only what keeps them."),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report to this HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the factory and of each trial.")] = 0,
) -> int:
    """Try remedies for what keeps the gradient of a model of your own from the lag.

    Trains copies of the model without and with each remedy, in the order of what they promise, and
    prints the lines to paste for the best. Without a train_step of the factory's, the training is
    Adam on the one batch. Leaves with 0 if nothing was wrong or a remedy was kept, with 1 if no
    remedy helped, and with 2 on wrong usage or input.
    """
    # Not at the top of the file: these load torch, which --help must not wait for.
    from carousel.cli._progress import announced
    from carousel.cli._stdout import foreign_output_to_stderr
    from carousel.cli._target import load_target

    with foreign_output_to_stderr():
        import torch

        torch.manual_seed(seed)
        loaded = load_target(target)
        from carousel.diagnosis import fix as cure_of
        from carousel.report import cure_json, cure_report

        with announced() as announce:
            cure = cure_of(
                loaded.model,
                loaded.batch,
                loaded.loss_fn,
                loaded.train_step,
                lag=lag,
                steps=steps,
                seed=seed,
                trained=trained,
                most=most,
                progress=announce,
            )
        title = f"Remedies for {target}"
        report = cure_report(cure, title)
    written = report.to_html(html) if html is not None else None
    if as_json:
        typer.echo(cure_json(cure, title))
    else:
        report.print(details=False)
    if written is not None:
        typer.echo(f"HTML report: {written}", err=as_json)
    return 0 if cure.healthy or cure.best is not None else WRONG
