"""Fifty browsers for three seconds; benchmarks/serving.py makes it two hundred for thirty."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serving.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_serving", BENCHMARK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_many_at_once_are_answered_rightly_and_nothing_is_kept(benchmark: ModuleType) -> None:
    with benchmark.started() as (address, process):
        load = asyncio.run(benchmark.under_load(address, process, clients=50, seconds=3.0))
    assert load.errors == []
    assert load.answers >= 40  # each of those that ask first for what is computed is answered
    assert load.left >= 5
    assert load.rss_after - load.rss_before < 24 * 2**20


def test_a_wrong_number_would_be_seen(benchmark: ModuleType) -> None:
    async def ask() -> list[str]:
        load = benchmark.Load()
        client = benchmark.Client(2, address, load, [{"other": "numbers"}] * 8)
        await client.enter()
        await client.ask_often(requests=1)
        return list(load.errors)

    with benchmark.started() as (address, _):
        (error,) = asyncio.run(ask())
    assert "other numbers than the package's" in error
