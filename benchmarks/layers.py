"""What Carousel's layers cost, against torch.nn and against loops over steps.

    python benchmarks/layers.py [--quick] [--only NAME ..] [--json out.json] [--plot out.png]

Each row first checks that both sides compute the same outputs and gradients, then runs them in
turn, round by round in one process with the same threads, and gives the median of the ratios
within the rounds with its bootstrap interval of 95 %. A row that fails its check is not timed, and
the exit code is 1; a target that is missed is told, and changes no exit code.

A step is forward and backward with the gradients of the input and of all weights; I = H.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib.util
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import (
    Case,
    Comparison,
    Group,
    Inference,
    Options,
    Row,
    Shape,
    Target,
    Timing,
    Training,
    VariantLoop,
    agree,
    described,
    example,
    exit_code,
    fma_peak,
    gemms,
    grid,
    layer,
    memory_group,
    plot,
    print_summary,
    ragged,
    recording_group,
    run_group,
    save,
    watch_group,
)
from torch import Tensor, nn

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FASTER = Comparison("torch / carousel", "torch", "carousel")
PEAK = Target(
    "of peak",
    each=0.6,
    where=lambda shape: shape.B >= 16 and shape.H >= 256,
    rows="B >= 16, H >= 256",
)


def main() -> int:
    """Measure, print, save; the exit code."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    budget_s = arguments.budget_s or (0.4 if arguments.quick else 1.5)
    options = Options(arguments.threads, budget_s, arguments.quick, arguments.null)
    machine = described()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.null:
        print("torch stands in for Carousel: every ratio of the two should be 1.")
    begin = time.monotonic()
    measured, failures = {}, []
    for group in groups(options):
        chosen = not arguments.only or group.name in arguments.only
        if chosen and not (options.null and group.name in WITHOUT_NULL):
            measured[group], failed = run_group(group, options)
            failures += failed
    figures = print_summary(measured)
    print(f"\n{time.monotonic() - begin:.0f} s in all.")
    if arguments.json:
        save(arguments.json, measured, figures)
    if arguments.plot:
        plot(arguments.plot, measured, f"{machine['cpu']}, {machine['threads']} threads")
    return exit_code(failures)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a corner of the grid, in 2 minutes")
    names = [group.name for group in groups(Options(1, 0.0, quick=True, null=False))]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, help="write all numbers into this file")
    parser.add_argument("--plot", type=Path, help="draw speed by H into this file (matplotlib)")
    parser.add_argument("--threads", type=int, default=2, help="on both sides (default: 2)")
    parser.add_argument("--budget-s", type=float, help="seconds of timed rounds for each row")
    parser.add_argument("--null", action="store_true", help="torch on both sides: is it 1.00x?")
    arguments = parser.parse_args()
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    return arguments


# recording, watch and memory have no meaning with torch in Carousel's place.
WITHOUT_NULL = {"recording", "watch", "memory"}


def groups(options: Options) -> list[Group]:
    """Everything that is measured, in the order of the table."""
    shapes = grid(quick=options.quick)
    return [
        trained("lstm", "float32 LSTM", "LSTM", 1.6, shapes, each=1.0),
        trained("gru", "float32 GRU", "GRU", 4.0, shapes),
        trained("rnn", "float32 tanh RNN", "RNN", 2.5, shapes),
        trained("lstm-f64", "float64 LSTM", "LSTM", 3.0, shapes, dtype=torch.float64),
        trained("lstm-packed", "float32 LSTM, ragged packed", "LSTM", 8.0, shapes, packed=True),
        *(variant_group(variant, shapes) for variant in ("peephole", "1997", "cifg")),
        Group(
            "inference",
            "float32 LSTM, forward without gradients",
            shapes,
            case=inference,
            comparisons=(FASTER,),
            targets=(Target(FASTER.label, each=1.0),),
            plotted=FASTER.label,
        ),
        recording_group(shapes),
        watch_group(shapes),
        length_group(options),
        memory_group(options),
    ]


# ---- against torch.nn


def trained(
    name: str,
    title: str,
    cell: str,
    mean: float,
    shapes: tuple[Shape, ...],
    *,
    each: float | None = None,
    dtype: torch.dtype = torch.float32,
    packed: bool = False,
) -> Group:
    """Training steps of one cell against torch.nn; with shares of the peak where they are dense."""
    plain = dtype == torch.float32 and not packed
    if packed:  # torch's time grows faster than T: 10 000 steps would take it minutes
        shapes = tuple(shape for shape in shapes if shape.T <= 1000)
    return Group(
        name,
        f"{title}, training step",
        shapes,
        case=functools.partial(training, cell=cell, dtype=dtype, packed=packed),
        comparisons=(FASTER, Comparison("gemms / carousel", "gemms", "carousel")),
        targets=(Target(FASTER.label, mean=mean, each=each), *((PEAK,) if plain else ())),
        plotted=FASTER.label,
    )


def training(
    shape: Shape, options: Options, *, cell: str, dtype: torch.dtype, packed: bool
) -> Case:
    """Both sides' training steps; for dense float32 also the products alone."""
    x, d_output = example(shape, dtype)
    inputs = ragged(x) if packed else x
    if packed:
        d_output = d_output.flatten(0, 1)[: len(inputs.data)]
    torchs, ours = (
        Training(layer(cell, shape.H, source=source, dtype=dtype), inputs, d_output)
        for source in ("torch", side(options))
    )
    ours.module.load_state_dict(torchs.module.state_dict())
    ways: dict[str, Callable[[], object]] = {"torch": torchs, "carousel": ours}
    peak = None
    if dtype == torch.float32 and not packed:
        ways["gemms"] = gemms(shape, GATES[cell])
        peak = fma_peak(options.threads)

    def values(timing: Timing) -> dict[str, float]:
        seconds = timing.median("carousel")
        found = {"us/step": 1e6 * seconds / shape.T}
        if peak is not None:  # the larger of before and after: the share is not flattered
            best = max(peak, fma_peak(options.threads) or 0.0)
            found["of peak"] = shape.flops(GATES[cell]) / seconds / best
        return found

    return Case(ways, lambda: agree(ours, torchs), values)


def inference(shape: Shape, options: Options) -> Case:
    """Both sides' forward passes under ``no_grad``."""
    x, _ = example(shape)
    torchs, ours = (
        Inference(layer("LSTM", shape.H, source=source), x) for source in ("torch", side(options))
    )
    ours.module.load_state_dict(torchs.module.state_dict())
    return Case(
        {"torch": torchs, "carousel": ours},
        lambda: agree(ours, torchs),
        lambda timing: {"us/step": 1e6 * timing.median("carousel") / shape.T},
    )


def side(options: Options) -> str:
    """Where the measured layer comes from."""
    return "torch" if options.null else "carousel"


# ---- variants, against loops


def variant_group(variant: str, shapes: tuple[Shape, ...]) -> Group:
    """A variant against a loop over steps, and against our own LSTM with a forget gate."""
    return Group(
        variant,
        f"float32 LSTM {variant}, training step",
        shapes,
        case=functools.partial(variant_training, variant=variant),
        comparisons=(
            Comparison("loop / carousel", "loop", "carousel"),
            Comparison("carousel / forget", "carousel", "forget"),
        ),
        targets=(
            Target("loop / carousel", mean=10.0),
            Target("carousel / forget", mean=1.3, at_most=True),
        ),
        plotted="loop / carousel",
    )


def variant_training(shape: Shape, options: Options, *, variant: str) -> Case:
    """The variant as a loop, as ours, and our forget beside it."""
    x, d_output = example(shape)
    torchs = Training(layer("LSTM", shape.H, source="torch"), x, d_output)
    forget = Training(layer("LSTM", shape.H, source=side(options)), x, d_output)
    module = variant_layer(variant, shape.H, options)
    ours = Training(module, x, d_output)
    loop = Training(VariantLoop(variant, dict(module.named_parameters())), x, d_output)

    def check() -> None:
        agree(forget, torchs)
        if variant == "1997" and shape.T > 1000:
            check_in_float64(module, x, d_output)
            ours()  # which no check has warmed up
        else:
            agree(ours, loop)

    return Case({"loop": loop, "carousel": ours, "forget": forget}, check)


def variant_layer(variant: str, hidden: int, options: Options) -> nn.Module:
    """Our layer of the variant, or a loop in its place.

    Without a forget gate nothing is forgotten, rounding included: with torch's usual weights two
    loops that differ by rounding part company within a thousand steps. A tenth of W_hh keeps them
    together, and costs the same time.
    """
    if options.null:
        module: nn.Module = VariantLoop.drawn(variant, hidden)
    else:
        module = layer("LSTM", hidden, source="carousel", variant=variant)
    if variant == "1997":
        with torch.no_grad():
            module.weight_hh_l0.mul_(0.1)
    return module


def check_in_float64(module: nn.Module, x: Tensor, d_output: Tensor) -> None:
    """Compare the 1997 variant with its loop where c grows too large for float32 to tell."""
    double = copy.deepcopy(module).double()
    loop = VariantLoop("1997", dict(double.named_parameters()))
    agree(*(Training(one, x.double(), d_output.double()) for one in (double, loop)))


# ---- by length


def length_group(options: Options) -> Group:
    """Time by the number of steps: as a power of T it should have the exponent 1."""
    longest = 4 if options.quick else 5
    exponent = "exponent of T (T >= 1000)"

    def whole(rows: list[Row]) -> dict[str, float]:
        points = [
            (math.log(row.shape.T), math.log(row.milliseconds["carousel"]))
            for row in rows
            if row.shape.T >= 1000
        ]
        if len(points) < 2:
            return {}
        middle, level = (sum(column) / len(points) for column in zip(*points, strict=True))
        over = sum((t - middle) * (y - level) for t, y in points)
        return {exponent: over / sum((t - middle) ** 2 for t, _ in points)}

    return Group(
        "length",
        "float32 LSTM, training step, by the number of steps",
        tuple(Shape(1, 10**k, 32) for k in range(2, longest + 1)),
        case=functools.partial(training, cell="LSTM", dtype=torch.float32, packed=False),
        comparisons=(FASTER,),
        targets=(Target(exponent, each=1.1, at_most=True),),
        whole=whole,
    )


if __name__ == "__main__":
    raise SystemExit(main())
