"""What a Lyapunov spectrum and a product of Jacobians cost, against autograd, T, H and k.

    python benchmarks/spectrum.py [--rounds N] [--quick]

*plain* is what can be done without Carousel: for each step ``torch.autograd.functional.jacobian``
of an LSTMCell in float64, multiplied onto the directions, then a QR; *vectorised* is the same with
``vectorize=True``, which puts all rows into one backward pass. Both run over some of the steps only
and are scaled up to all, since every step costs the same. Before anything is timed, the exponents
are compared with those of the plain way over these steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from harness import Mismatch, interleaved
from torch import Tensor, nn

import carousel
from carousel.flow import LayerFlow
from carousel.flow._frame import random_frame

STEPS, PLAIN_STEPS, INPUTS = 1000, 20, 8
AGREE = 1e-6  # of the exponents, per step


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the two claims alone")
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {threads} threads, {options.rounds} rounds")
    whole_spectrum(options.rounds)
    seconds = once(lambda: layer_of(512, STEPS).spectrum(8), layer_of(512, STEPS).spectrum)
    print(f"k=8 exponents, H=512, T={STEPS}, B=1: {seconds:.2f} s")
    if not options.quick:
        costs()


def whole_spectrum(rounds: int) -> None:
    """All 256 exponents of an LSTM with 128 units over 1000 steps, against autograd."""
    short, layer = layer_of(128, PLAIN_STEPS), layer_of(128, STEPS)
    for vectorize in (False, True):
        check(short, plain(short, vectorize=vectorize))
    ways: dict[str, Callable[[], object]] = {
        "spectrum": layer.spectrum,
        "plain": lambda: plain(short, vectorize=False),
        "vectorised": lambda: plain(short, vectorize=True),
    }
    timing = interleaved(ways, 0.0, fewest=rounds, most=rounds)
    scale = STEPS / PLAIN_STEPS
    print(f"whole spectrum, LSTM H=128 (S=256), T={STEPS}, B=1: {timing.median('spectrum'):.2f} s")
    for way in ("plain", "vectorised"):
        ratio = timing.ratio(way, "spectrum")
        low, high = ratio.low * scale, ratio.high * scale
        print(f"  {way}: {ratio.median * scale:.1f} times as long ({low:.1f} to {high:.1f})")


def costs() -> None:
    """How the time grows with T, with H and with k, and what a product costs."""
    print("  H     k     T   seconds   us a step")
    for hidden, k, steps in [
        *((64, None, steps) for steps in (250, 500, 1000, 2000)),
        *((hidden, None, 500) for hidden in (16, 32, 64, 128)),
        *((128, k, 500) for k in (1, 4, 16, 64, 128)),
        *((hidden, 8, 500) for hidden in (64, 128, 256, 512)),
    ]:
        layer = layer_of(hidden, steps)
        seconds = once(lambda layer=layer, k=k: layer.spectrum(k), layer.spectrum)
        shown = 2 * hidden if k is None else k
        print(f"{hidden:4d} {shown:5d} {steps:5d} {seconds:9.3f} {seconds / steps * 1e6:10.0f}")
    for hidden, k in ((64, None), (64, 4), (128, None), (128, 4), (256, 4)):
        layer = layer_of(hidden, 200)
        seconds = once(lambda layer=layer, k=k: layer.jacobian_product(0, 199, k), layer.spectrum)
        print(f"product over 199 steps, H={hidden}, k={k or 'all'}: {seconds:.3f} s")


def once(run: Callable[[], object], warm: Callable[..., object]) -> float:
    """Seconds of the faster of two calls, after another that warms up."""
    warm(1)
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def layer_of(hidden: int, steps: int) -> LayerFlow:
    """A measured LSTM as torch draws it, in float64: both ways then compute the same."""
    torch.manual_seed(0)
    lstm, x = nn.LSTM(INPUTS, hidden).double(), torch.randn(steps, 1, INPUTS).double()
    return carousel.measure(lstm, lambda: lstm(x)[0].square().sum())["l0"]


def plain(layer: LayerFlow, *, vectorize: bool) -> Tensor:
    """Exponents by autograd, one Jacobian and one QR a step, without a transient."""
    trace = layer.trace
    hidden = layer.hidden
    cell = nn.LSTMCell(INPUTS, hidden).double()
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parent = name.replace("weight_", "w_").replace("bias_", "b_")
            parameter.copy_(getattr(trace.weights, parent))
    x, trajectory = trace.x, trace.trajectory
    assert trajectory.c_prev is not None
    s_prev = torch.cat([trajectory.h_prev, trajectory.c_prev], dim=-1)[:, 0]
    q = random_frame(1, 2 * hidden, 2 * hidden, x.device)[0]
    total = torch.zeros(2 * hidden, dtype=torch.float64)
    for t in range(len(x)):

        def step(s: Tensor, t: int = t) -> Tensor:
            h, c = cell(x[t], (s[:hidden].unsqueeze(0), s[hidden:].unsqueeze(0)))
            return torch.cat([h[0], c[0]])

        jacobian = torch.autograd.functional.jacobian(step, s_prev[t], vectorize=vectorize)
        q, r = torch.linalg.qr(jacobian @ q)
        total += r.diagonal().abs().log()
    return (total / len(x)).sort(descending=True).values


def check(layer: LayerFlow, expected: Tensor) -> None:
    """Stop unless both ways find the same exponents."""
    gap = float((layer.spectrum(transient=0).exponents - expected).abs().max())
    if not gap <= AGREE:
        raise SystemExit(str(Mismatch(f"Exponents are off by {gap:.1e}. Nothing is timed.")))


if __name__ == "__main__":
    main()
