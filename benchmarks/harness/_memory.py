"""Memory that a training step holds: what autograd saves, and what the process comes to."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["held_and_peak_bytes", "saved_bytes"]

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes of the tensors that a forward pass saves for backward, each storage counted once.

    Neither the parameters nor x count: they are there anyway. The output does.
    """
    ours = {p.untyped_storage().data_ptr() for p in [x, *module.parameters()]}
    found: dict[int, int] = {}
    kept = []  # keeps a storage from being freed, and its address from being used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(size for address, size in found.items() if address not in ours)


def held_and_peak_bytes(
    build: Callable[..., nn.Module], options: dict[str, object], sizes: tuple[int, int, int]
) -> tuple[int, int]:
    """Bytes by which a process has grown after forward, and at its peak, in a process of its own.

    Args:
        build: makes the module from ``options``; named at the top of a module.
        options: keyword arguments of ``build``.
        sizes: T, B, I of the input, which does not count.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_grown, build, options, sizes, torch.get_num_threads()).result()


def _grown(
    build: Callable[..., nn.Module],
    options: dict[str, object],
    sizes: tuple[int, int, int],
    threads: int,
) -> tuple[int, int]:
    torch.set_num_threads(threads)
    module = build(**options)
    x = torch.randn(sizes, requires_grad=True)
    d_output = torch.randn(sizes[0], sizes[1], module.hidden_size)
    module(x[:2])[0].backward(d_output[:2])  # loads libraries and makes the gradients' buffers
    gc.collect()
    with contextlib.suppress(OSError):  # where it may not, the peak is that since the start
        RESET.write_text("5")
    before = _kib("VmRSS")
    output = module(x)[0]
    held = _kib("VmRSS")
    output.backward(d_output)
    return 1024 * (held - before), 1024 * (_kib("VmHWM") - before)


def _kib(field: str) -> int:
    """A line of the kernel's account of this process, which begins anew with the program.

    ``getrusage`` would name the largest size of the process that started this one; where there is
    no such account it has to do.
    """
    if STATUS.exists():  # Linux
        line = next(row for row in STATUS.read_text().splitlines() if row.startswith(field))
        return int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
