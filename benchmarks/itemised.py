"""Itemised gradients against one backward pass for each loss.

    python benchmarks/itemised.py [--rounds N]

G[t_loss, t] of a torch.nn.LSTM with a loss at each of T steps, in three ways, interleaved in one
process: *itemised* is ``layer.itemised()``, which takes the norms and shares of all T (T + 1) / 2
items from a flow; *loop* is what can be done without Carousel, T backward passes through a loop of
LSTMCell, each to the gradients at every state; *passes* are T backward passes of the module itself,
which give no gradient at a state at all. Before a row is timed, its norms are checked against the
loop's.
"""

from __future__ import annotations

import argparse

import torch
from harness import Mismatch, interleaved, same
from torch import Tensor, nn

import carousel

SHAPES = [  # B, T, I, H
    (1, 200, 32, 32),
    (4, 200, 64, 64),
    (16, 200, 64, 64),
    (4, 200, 128, 128),
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    print("   B     T    I    H   itemised ms   loop / itemised   passes / itemised")
    for shape in SHAPES:
        itemised_s, loop, passes = measure_row(shape, rounds)
        print("{:4d} {:5d} {:4d} {:4d}".format(*shape), end="")
        print(f"{itemised_s * 1e3:14.1f}{loop:17.1f}x{passes:19.1f}x", flush=True)


def measure_row(shape: tuple[int, int, int, int], rounds: int) -> tuple[float, float, float]:
    """Median seconds of ``itemised``, then the median ratios of the other ways to it."""
    batch, steps, inputs, hidden = shape
    torch.manual_seed(0)
    model = nn.LSTM(inputs, hidden)
    x, weight = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)

    def loss_of_all() -> Tensor:
        return (model(x)[0] * weight).sum()

    layer = carousel.measure(model, loss_of_all)["l0"]
    states = states_of_loop(model, x)
    losses = [(weight[t] * h).sum() for t, (h, _) in enumerate(states)]
    whole = (model(x)[0] * weight).sum((1, 2))
    parameters = list(model.parameters())

    def loop() -> Tensor:
        found = torch.zeros(steps, steps, batch)
        for s, loss in enumerate(losses):
            wanted = [h for h, _ in states[: s + 1]]
            gradients = torch.autograd.grad(loss, wanted, retain_graph=True)
            found[s, : s + 1] = torch.stack(gradients).norm(dim=-1)
        return found

    def passes() -> None:
        for loss in whole:
            torch.autograd.grad(loss, parameters, retain_graph=True)

    try:
        same({"norm": 10 ** layer.itemised().log10_h.float()}, {"norm": loop()})
    except Mismatch as error:
        raise SystemExit(f"The items disagree with the loop: {error} Nothing is timed.") from error
    ways = {"itemised": layer.itemised, "loop": loop, "passes": passes}
    timing = interleaved(ways, 0.0, warmups=1, fewest=rounds, most=rounds)
    loop_ratio = timing.ratio("loop", "itemised").median
    passes_ratio = timing.ratio("passes", "itemised").median
    return timing.median("itemised"), loop_ratio, passes_ratio


def states_of_loop(model: nn.LSTM, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(h_t, c_t) of every step of the same recurrence, in one graph."""
    cell = nn.LSTMCell(model.input_size, model.hidden_size)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.copy_(getattr(model, f"{name}_l0"))
    h = c = x.new_zeros(x.shape[1], model.hidden_size)
    states = []
    for x_t in x.unbind(0):
        h, c = cell(x_t, (h, c))
        states.append((h, c))
    return states


if __name__ == "__main__":
    main()
