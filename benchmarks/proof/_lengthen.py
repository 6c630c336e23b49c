"""How training changes the horizon: why a task may be learnt that the horizon seemed to forbid.

Where a task can be learnt in part from what lies near (adding: the second marker is often close to
the end), the part lengthens the horizon, and the longer horizon reaches the rest. Where it cannot
(delayed recall: one symbol, always a whole lag away), the horizon has to be there from the start.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from carousel.tasks import long_range
from proof._foretell import TASKS, TESTING_SEEDS, Setting, horizon_of
from proof._networks import Network
from proof._training import Recipe, train

__all__ = ["cases", "run"]

NETWORKS = (Network("GRU", "default"), Network("LSTM", "default"), Network("LSTM", "forget bias 1"))
LAG = 50


def cases() -> Iterator[Setting]:
    """Networks with short horizons, on each task."""
    for seed in TESTING_SEEDS:
        for task in TASKS:
            for network in NETWORKS:
                yield Setting(network, task, LAG, seed)


def run(setting: Setting, recipe: Recipe) -> dict[str, Any]:
    """The rate of the horizon before the training and after it."""
    begin = time.perf_counter()
    task = long_range(setting.task, setting.lag_steps)
    model = setting.network.make(
        task.input_size, task.output_size, setting.lag_steps, seed=setting.seed
    )
    before = horizon_of(model, task, setting.seed)
    outcome = train(model, task, recipe, seed=setting.seed)
    after = horizon_of(model, task, setting.seed)
    return {
        "part": setting.part,
        "network": str(setting.network),
        "task": setting.task,
        "lag_steps": setting.lag_steps,
        "seed": setting.seed,
        "rate_before": before["rate"],
        "rate_after": after["rate"],
        "learnt": outcome.learnt,
        "updates": outcome.updates,
        "seconds": round(time.perf_counter() - begin, 2),
    }
