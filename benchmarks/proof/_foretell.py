"""Does the horizon of a network before any training foretell which lags it will learn?

For each network, task, lag and seed: the horizon at initialisation, measured on the task's own
inputs, and whether the network then learns the task. Two scores are held against the outcome:

    closeness  -|rate| * lag / ln 10    how far, in powers of ten, the gradient that one step's loss
                                        sends back over the lag is from its full size, either way
    reach      rate * lag / ln 10       the same, but growing counts as reaching

with the rate of ``Horizon``, per step. Which of them is the better one is seen on the tuning seeds;
the area that is reported for it is that of the testing seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

import carousel
from carousel.tasks import LongRangeTask, long_range
from proof._networks import Network, Reader
from proof._training import Recipe, train

__all__ = ["TASKS", "TESTING_SEEDS", "Setting", "cases", "horizon_of", "run", "scores"]

LAGS = (10, 20, 50, 100)
TASKS = ("adding", "delayed-recall", "temporal-order")
TUNING_SEEDS, TESTING_SEEDS = (0,), (1, 2)
NETWORKS = (
    Network("tanh RNN", "default"),
    Network("tanh RNN", "orthogonal 0.8"),
    Network("tanh RNN", "orthogonal 1"),
    Network("tanh RNN", "orthogonal 1.5"),
    Network("relu RNN", "identity 0.9"),
    Network("relu RNN", "identity 1"),
    Network("GRU", "default"),
    Network("GRU", "chrono"),
    Network("LSTM", "default"),
    Network("LSTM", "forget bias 1"),
    Network("LSTM", "forget bias 3"),
    Network("LSTM", "chrono"),
)
MEASURED_STEPS = 200  # sequences for the horizon are at least so long: short ones give no rate
MEASURED_SEQUENCES = 8
MEASURING = 2**33  # added to the seed: sequences that no training sees


@dataclass(frozen=True)
class Setting:
    """One network on one task with one lag, from one seed."""

    network: Network
    task: str
    lag_steps: int
    seed: int

    @property
    def part(self) -> str:
        """Which part the seed belongs to."""
        return "tuning" if self.seed in TUNING_SEEDS else "testing"

    def __str__(self) -> str:
        return f"{self.network}; {self.task}, lag {self.lag_steps}, seed {self.seed}"


def cases() -> Iterator[Setting]:
    """All settings, seed by seed, so that a run that is broken off has seen all networks."""
    for seed in (*TUNING_SEEDS, *TESTING_SEEDS):
        for lag_steps in LAGS:
            for task in TASKS:
                for network in NETWORKS:
                    yield Setting(network, task, lag_steps, seed)


def run(setting: Setting, recipe: Recipe) -> dict[str, Any]:
    """Measure, train, and say what came of it."""
    begin = time.perf_counter()
    task = long_range(setting.task, setting.lag_steps)
    model = setting.network.make(
        task.input_size, task.output_size, setting.lag_steps, seed=setting.seed
    )
    before = horizon_of(model, task, setting.seed)
    outcome = train(model, task, recipe, seed=setting.seed)
    return {
        "part": setting.part,
        "network": str(setting.network),
        "task": setting.task,
        "lag_steps": setting.lag_steps,
        "seed": setting.seed,
        **before,
        **asdict(outcome),
        "seconds": round(time.perf_counter() - begin, 2),
    }


def horizon_of(model: Reader, task: LongRangeTask, seed: int) -> dict[str, Any]:
    """The horizon on the task's inputs, and the whole Jacobian product over the lag."""
    measured = type(task)(max(task.steps, MEASURED_STEPS))
    generator = torch.Generator().manual_seed(seed + MEASURING)
    batch = measured.batch(MEASURED_SEQUENCES, generator)
    flow = carousel.measure(model, (batch.inputs, batch.targets), measured.loss)
    layer = flow.slowest
    horizon = layer.horizon()
    at_lag = layer.jacobian_norms().log10[task.lag_steps]
    return {
        "horizon": horizon.kind,
        "rate": horizon.rate,
        "rate_low": horizon.rate_interval[0],
        "rate_high": horizon.rate_interval[1],
        "log10_jacobian_at_lag": at_lag.mean().item(),
    }


def scores(row: dict[str, Any]) -> dict[str, float]:
    """What each way to foretell says of one setting; the higher, the surer to be learnt."""
    decades = row["rate"] * row["lag_steps"] / math.log(10)
    product = row["log10_jacobian_at_lag"]
    return {
        "closeness": -abs(decades),
        "reach": decades,
        "product at the lag": -abs(product),
        "horizon alone": -abs(row["rate"]),
        "lag alone": -row["lag_steps"],
    }
