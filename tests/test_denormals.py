"""Nothing of Carousel leaves the processor flushing denormals: 5e-324 + 0.0 stays itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import threading
import numpy
import torch


def check(when):
    smallest = float("5e-324")
    assert smallest + 0.0 != 0.0, f"{when}: Python"
    assert (numpy.array([smallest]) + 0.0 != 0.0).all(), f"{when}: numpy"
    wide = torch.full((100_000,), smallest, dtype=torch.float64) + 0.0
    assert bool((wide != 0).all()), f"{when}: torch, in all of its threads"
    single = torch.full((100_000,), 1e-45, dtype=torch.float32) * 1.0
    assert bool((single != 0).all()), f"{when}: float32"


check("before")
import carousel

check("after import carousel")
lstm = torch.nn.LSTM(2, 5, 2)
with torch.no_grad():
    lstm.weight_hh_l0.mul_(1e-20)
x = torch.randn(40, 3, 2)
flow = carousel.measure(lstm, lambda: lstm(x)[0][-1].sum())
layer = flow["l0"]
check("after measure")
layer.log10_norm("d_h"), layer.category("d_h"), layer.jacobian_norms(), layer.horizon()
check("after the quantities")
with carousel.watch(lstm) as watcher:
    lstm(x)[0][-1].sum().backward()
    watcher.flow
check("after watch")

# The core, whose threads all flush while they run: shared by sequences, by units, and not at all.
for batch, hidden in ((16, 24), (3, 120), (2, 9)):
    for layer in (carousel.RNN, carousel.GRU, carousel.LSTM):
        for dtype in (torch.float32, torch.float64):
            module = layer(4, hidden, dtype=dtype)
            name = f"{layer.__name__}, {batch} sequences, {hidden} units, {dtype}"
            output, _ = module(torch.randn(20, batch, 4, dtype=dtype))
            check(f"after {name} forward")
            output.sum().backward()
            check(f"after {name} backward")


def in_a_thread():
    module = carousel.LSTM(4, 120)
    module(torch.randn(20, 3, 4))[0].sum().backward()
    check("in a thread of its own")
    done.append(True)


done = []
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
assert done
check("after that thread")
print("kept")
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_denormals_stay(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    done = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "kept"
