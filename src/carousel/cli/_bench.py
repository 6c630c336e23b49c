"""``carousel bench``: which code runs the layers here, and how fast it is beside torch's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carousel.cli._exits import WRONG, exits

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor, nn

__all__ = ["Info", "Row", "bench"]

LAYERS = ("RNN", "LSTM", "GRU")
SHAPES = (  # T, B, I, H
    (100, 1, 64, 64),
    (100, 16, 64, 128),
    (100, 64, 256, 256),
)
TOLERANCE = 1e-4  # of outputs and gradients in float32, relative to the largest


@dataclass(frozen=True)
class Info:
    """Which code runs the layers in this process, and with what."""

    version: str
    torch: str
    path: str  # "native core" or "plain equations"
    target: str | None  # instruction set of the native core
    library: str | None  # where it was found, if it was
    openmp: bool
    threads: int
    dtypes: dict[str, str]  # how each is computed
    reason: str | None  # why the native core does not run


@dataclass(frozen=True)
class Row:
    """A forward and a backward pass of one layer, by torch and by Carousel."""

    layer: str
    steps: int
    batch: int
    inputs: int
    hidden: int
    torch_ms: float  # median of the rounds
    carousel_ms: float
    ratio: float  # torch's time over Carousel's, median of the rounds; above 1 Carousel is faster
    agrees: bool  # outputs and gradients are the same to the rounding of float32


@exits
def bench(
    info: Annotated[
        bool, typer.Option("--info", help="Only say which code runs, and with what.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each pass is timed.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> int:
    """Time carousel.RNN, LSTM and GRU beside torch's own on this machine.

    Both run in turns, forward and backward, on the same weights and data. Leaves with 1 if their
    results differ.
    """
    # Not at the top of the file: these load torch and rich, which --help must not wait for.
    from rich.console import Console

    from carousel.cli._progress import announced

    found = information()
    rows: list[Row] = []
    if not info:
        with announced() as announce:
            rows = compared(rounds, announce)
    if as_json:
        answer = dataclasses.asdict(found)
        if not info:
            answer["rows"] = [dataclasses.asdict(row) for row in rows]
        typer.echo(json.dumps(answer, indent=2))
    else:
        console = Console()
        print_info(found, console)
        if rows:
            print_rows(rows, console)
    return 0 if all(row.agrees for row in rows) else WRONG


def information() -> Info:
    """Look at what was loaded, or why it was not."""
    import torch

    from carousel import __version__
    from carousel.cells._native import status, threads

    native = status()
    own = "native core" if native.loaded else "plain equations"
    return Info(
        version=__version__,
        torch=torch.__version__,
        path=own,
        target=native.target,
        library=None if native.path is None else str(native.path),
        openmp=native.openmp,
        threads=threads(),
        dtypes={
            "float32": own,
            "float64": own,
            "bfloat16": f"{own}, in float32",
            "float16": f"{own}, in float32",
        },
        reason=native.reason,
    )


def compared(rounds: int, announce: Callable[[str, float, str], None]) -> list[Row]:
    """Compare each layer in each shape, smallest first."""
    cases = [(layer, shape) for shape in SHAPES for layer in LAYERS]
    rows = []
    for done, (layer, shape) in enumerate(cases, start=1):
        rows.append(compare(layer, shape, rounds))
        announce("Comparing", done / len(cases), f"{layer}, {shape[-1]} units")
    return rows


def compare(layer: str, shape: tuple[int, int, int, int], rounds: int) -> Row:
    """Time one layer and torch's in turns, after a pass of each that checks the results."""
    import statistics

    import torch
    from torch import nn

    import carousel

    steps, batch, inputs, hidden = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, batch, inputs, generator=generator)
    d_output = torch.randn(steps, batch, hidden, generator=generator)
    theirs: nn.Module = getattr(nn, layer)(inputs, hidden)
    ours: nn.Module = getattr(carousel, layer)(inputs, hidden)
    ours.load_state_dict(theirs.state_dict())
    agrees = all(
        bool((a - b).abs().max() <= TOLERANCE * b.abs().max())
        for a, b in zip(results(ours, x, d_output), results(theirs, x, d_output), strict=True)
    )
    seconds = [
        (elapsed(lambda: run(theirs, x, d_output)), elapsed(lambda: run(ours, x, d_output)))
        for _ in range(rounds)
    ]
    return Row(
        *(layer, steps, batch, inputs, hidden),
        torch_ms=1e3 * statistics.median(pair[0] for pair in seconds),
        carousel_ms=1e3 * statistics.median(pair[1] for pair in seconds),
        ratio=statistics.median(pair[0] / pair[1] for pair in seconds),
        agrees=agrees,
    )


def run(layer: nn.Module, x: Tensor, d_output: Tensor) -> Tensor:
    """One forward and one backward pass; returns the output."""
    layer.zero_grad()
    output: Tensor = layer(x)[0]
    output.backward(d_output)
    return output.detach()


def results(layer: nn.Module, x: Tensor, d_output: Tensor) -> Iterable[Tensor]:
    """Run once; return the output and the gradients of the weights."""
    output = run(layer, x, d_output)
    return [
        output,
        *(parameter.grad for parameter in layer.parameters() if parameter.grad is not None),
    ]


def elapsed(work: Callable[[], Any]) -> float:
    """The seconds that a call takes."""
    from time import perf_counter

    start = perf_counter()
    work()
    return perf_counter() - start


def print_info(info: Info, console: Console) -> None:
    """Print a line for each fact."""
    facts = {
        "carousel": info.version,
        "torch": info.torch,
        "runs on": f"{info.path}{f' ({info.target})' if info.target else ''}",
        "library": info.library or "none",
        "OpenMP": "yes" if info.openmp else "no",
        "threads": info.threads,
        **info.dtypes,
    }
    if info.reason is not None:
        facts["why not the native core"] = info.reason
    width = max(map(len, facts))
    for name, fact in facts.items():
        console.print(f"{name:{width}}  {fact}", markup=False, highlight=False, soft_wrap=True)


def print_rows(rows: list[Row], console: Console) -> None:
    """Print the comparison as a table."""
    from rich.table import Table

    table = Table(title="One forward and one backward pass, median", title_justify="left")
    table.add_column("layer")
    for name in ("T", "B", "I", "H", "torch, ms", "carousel, ms", "times as fast"):
        table.add_column(name, justify="right")
    table.add_column("results")
    for row in rows:
        table.add_row(
            row.layer,
            *(str(size) for size in (row.steps, row.batch, row.inputs, row.hidden)),
            *(f"{number:.2f}" for number in (row.torch_ms, row.carousel_ms, row.ratio)),
            "agree" if row.agrees else "DIFFER",
        )
    console.print()
    console.print(table)
