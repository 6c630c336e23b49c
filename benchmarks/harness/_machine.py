"""The machine that a table is of."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

import carousel
from carousel.cells import _native

__all__ = ["described", "fma_peak"]


def described() -> dict[str, str | int]:
    """What has to stand beside every number."""
    return {
        "cpu": _cpu(),
        "torch": torch.__version__,
        "carousel": carousel.__version__,
        "native": _native_target(),
        "threads": torch.get_num_threads(),
    }


def fma_peak(threads: int) -> float | None:
    """Operations a second in registers alone (float32), or None without the native core.

    A multiply-add is two operations.
    """
    core = _native.library() if _native.status().loaded else None
    return None if core is None else 2e9 * core.carousel_fma_peak_f32(threads)


def _native_target() -> str:
    known = _native.status()
    return str(known.target) if known.loaded else f"plain equations: {known.reason}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.exists() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
