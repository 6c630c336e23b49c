"""What ``carousel.diagnosis.fix`` makes of the sick models: cured, left as they were, or worse."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import carousel
from carousel._errors import CarouselError
from carousel.diagnosis import fix
from carousel.tasks import LongRangeTask, long_range
from proof import _cases
from proof._cases import Case
from proof._training import Learnt, Recipe, train

__all__ = ["cases", "run"]

LAG = 50  # the shorter one of the cases: each is trained twice and tried with several remedies
TRIAL_STEPS = 100
REACHED = 2.0  # decades from its full size, either way, at the lag: a hundredth still shows
WORSE = 0.1  # of the loss without memory
TRIALS = 2**35  # added to the seed: the trials of ``fix`` see other sequences than the trainings


def cases() -> Iterator[Case]:
    """The cases of the testing part whose fault lies in the weights, and healthy ones beside."""
    for case in _cases.cases():
        if case.part == "testing" and case.fault.curable and case.lag_steps == LAG:
            yield case


def run(case: Case, recipe: Recipe) -> dict[str, Any]:
    """Train the model as it is and as ``fix`` leaves it, on the same sequences."""
    begin = time.perf_counter()
    task = long_range(case.task, case.lag_steps)
    built = case.build()
    untreated = copy.deepcopy(built.model)
    before = log10_at_lag(built.model, task, case.seed)
    remedy, tried, refusal = None, [], ""
    try:
        found = fix(
            built.model,
            (built.inputs, built.targets),
            built.loss_fn,
            training_of(task, recipe, case.seed + TRIALS),
            lag=case.lag_steps,
            steps=TRIAL_STEPS,
            seed=case.seed,
        )
    except CarouselError as error:
        refusal = str(error)
    else:
        tried = [outcome.remedy.name for outcome in found.outcomes]
        if found.best is not None:
            remedy = found.best.remedy
            if not remedy.in_model:  # a change of the training loop, which goes on through hooks
                remedy.apply(built.model)
    after = log10_at_lag(built.model, task, case.seed)
    without = train(untreated, task, recipe, case.seed)
    treated = without if remedy is None else train(built.model, task, recipe, case.seed)
    return {
        "part": case.part,
        "sick": bool(case.fault.has),
        "fault": case.fault.name,
        "cell": case.cell,
        "source": case.source,
        "layers": case.layers,
        "task": case.task,
        "lag_steps": case.lag_steps,
        "seed": case.seed,
        "remedy": None if remedy is None else remedy.name,
        "tried": tried,
        "refusal": refusal,
        "log10_at_lag_before": before,
        "log10_at_lag_after": after,
        "learnt_before": without.learnt,
        "learnt_after": treated.learnt,
        "loss_before": without.loss,
        "loss_after": treated.loss,
        "cured": treated.learnt or abs(after) <= REACHED,
        "worse": worse(without, treated, task),
        "seconds": round(time.perf_counter() - begin, 2),
    }


def worse(without: Learnt, treated: Learnt, task: LongRangeTask) -> bool:
    """Whether the training came to less with the remedy than without it."""
    if not math.isfinite(treated.loss):
        return math.isfinite(without.loss)
    return treated.loss > without.loss + WORSE * task.baseline_loss


def training_of(
    task: LongRangeTask, recipe: Recipe, seed: int
) -> Callable[[nn.Module], Callable[[], Tensor]]:
    """The user's own training step, as ``carousel.verify`` takes it."""

    def train_step(model: nn.Module) -> Callable[[], Tensor]:
        parameters = list(model.parameters())
        optimizer = torch.optim.Adam(parameters, lr=recipe.learning_rate)
        data = task.batches(recipe.batch, seed)

        def step() -> Tensor:
            batch = next(data)
            optimizer.zero_grad()
            loss = task.loss(model(batch.inputs), batch.targets)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
            optimizer.step()
            return loss

        return step

    return train_step


def log10_at_lag(model: nn.Module, task: LongRangeTask, seed: int) -> float:
    """The spectral norm of the Jacobian product over the lag, mean log10 over the sequences."""
    batch = task.batch(8, torch.Generator().manual_seed(seed + TRIALS))
    flow = carousel.measure(model, (batch.inputs, batch.targets), task.loss)
    norms = flow.slowest.jacobian_norms().log10
    return norms[min(task.lag_steps, len(norms) - 1)].mean().item()
