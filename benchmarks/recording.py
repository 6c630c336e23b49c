"""What recording costs: a training step watched against the same step alone.

    python benchmarks/recording.py [--rounds N]

Each row runs four ways, interleaved in one process, and gives medians of the ratios to the plain
step: *record* watches every backward pass and reads nothing; *flow* also computes the whole flow of
every pass; *loop* is what can be done without Carousel, an LSTMCell loop with retain_grad on every
h_t and c_t; *every=100* watches each hundredth pass. Before a row is timed, the flow is checked
against that loop.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from harness import CellLoop, Mismatch, interleaved, same
from torch import Tensor, nn

import carousel

SHAPES = [  # B, T, I, H
    (16, 100, 64, 128),
    (1, 100, 64, 128),
    (64, 100, 64, 128),
    (16, 1000, 32, 64),
    (16, 100, 512, 512),
    (1, 1000, 16, 32),
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    print("   B     T    I    H   plain ms   record    flow    loop   every=100")
    for shape in SHAPES:
        row = measure_row(shape, rounds)
        print("{:4d} {:5d} {:4d} {:4d}".format(*shape), end="")
        print(f"{row[0] * 1e3:11.2f}" + "".join(f"{ratio:8.2f}x" for ratio in row[1:4]), end="")
        print(f"{row[4]:11.2f}x", flush=True)


def measure_row(shape: tuple[int, int, int, int], rounds: int) -> list[float]:
    """Median seconds of the plain step, then the median ratios of the other ways to it."""
    batch, steps, inputs, hidden = shape
    torch.manual_seed(0)
    model = nn.LSTM(inputs, hidden)
    x, weight = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)

    def plain() -> None:
        model.zero_grad()
        (model(x)[0] * weight).sum().backward()

    watcher, sparse = carousel.watch(model), carousel.watch(model, every=100)

    def record() -> None:
        with watcher:
            plain()

    def flow() -> None:
        record()
        layer = watcher.flow["l0"]
        layer.norm("d_h"), layer.norm("d_c")

    cell_loop = CellLoop(model)

    def loop() -> None:
        cell_loop(x, weight)

    def every() -> None:
        with sparse:
            plain()

    check(watcher, flow, cell_loop.totals(x, weight))
    every()  # its first pass is the recorded one
    ways = {"plain": plain, "record": record, "flow": flow, "loop": loop, "every": every}
    timing = interleaved(ways, 0.0, warmups=2, fewest=rounds, most=rounds)
    ratios = [timing.ratio(way, "plain").median for way in list(ways)[1:]]
    return [timing.median("plain"), *ratios]


def check(
    watcher: carousel.flow.Watcher, flow: Callable[[], None], oracle: dict[str, Tensor]
) -> None:
    """Stop unless the flow agrees with the loop to the rounding of float32."""
    flow()
    layer = watcher.flow["l0"]
    try:
        same({"d_h": layer.d_h, "d_c": layer.d_c}, oracle)
    except Mismatch as error:
        raise SystemExit(f"The flow disagrees with the loop: {error} Nothing is timed.") from error


if __name__ == "__main__":
    main()
