"""What a sequence of 100 000 steps costs: time of each part, and the memory of the process.

    python benchmarks/long_sequence.py

Stops unless the flow is finite and the certificate holds, before it prints a time.
"""

from __future__ import annotations

import resource
import time
from itertools import pairwise

import torch
from torch import nn

import carousel

STEPS, BATCH, INPUTS, HIDDEN = 100_000, 1, 8, 32


def main() -> None:
    """Print one line."""
    torch.manual_seed(0)
    model, x = nn.LSTM(INPUTS, HIDDEN), torch.randn(STEPS, BATCH, INPUTS)
    marks = [time.perf_counter()]
    with carousel.watch(model) as watcher:
        model(x)[0][-1].sum().backward()
    marks.append(time.perf_counter())
    layer = watcher.flow["l0"]
    log10 = layer.log10_norm("d_h")
    marks.append(time.perf_counter())
    horizon = layer.horizon()
    marks.append(time.perf_counter())
    if not (log10.isfinite().all() and layer.certificate <= layer.certificate_limit):
        raise SystemExit("The flow is not finite, or its certificate does not hold: no times.")
    step, flow, rate = (end - begin for begin, end in pairwise(marks))
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"T={STEPS} B={BATCH} H={HIDDEN}: training step {step:.2f} s, flow {flow:.2f} s, ", end=""
    )
    print(f"horizon {rate:.2f} s, peak memory {gigabytes:.2f} GB")
    print(f"log10 |dL/dh| at the first step: {float(log10[0, 0]):.0f}. {horizon}")


if __name__ == "__main__":
    main()
