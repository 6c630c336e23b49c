"""Training a network on a long-range task until it is learnt or the updates are used up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from carousel.tasks import LongRangeTask

__all__ = ["LEARNT", "Learnt", "Recipe", "train"]

# Of the loss without memory. Who keeps one of the two things that adding and temporal order ask for
# stays at half of it, so that a quarter is reached by those alone who keep both.
LEARNT = 0.25
STOP = 0.1  # of the same, so far below LEARNT that no noise leads across
WINDOW = 25  # updates whose mean loss tells when to stop
TEST_SEQUENCES = 1024


@dataclass(frozen=True)
class Recipe:
    """How every network is trained."""

    updates: int = 1500  # at most
    batch: int = 32
    learning_rate: float = 3e-3  # of Adam; with clip_norm as in carousel.study.train
    clip_norm: float = 1.0


@dataclass(frozen=True)
class Learnt:
    """What a training reached, on new sequences."""

    learnt: bool  # the loss is at most LEARNT times that without memory
    loss: float
    wrong: float  # the share of sequences answered wrongly
    updates: int


def train(model: nn.Module, task: LongRangeTask, recipe: Recipe, seed: int) -> Learnt:
    """Train ``model`` in place; every update sees sequences that none saw before."""
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)
    stop = STOP * task.baseline_loss
    losses: list[float] = []
    for batch in task.batches(recipe.batch, seed):
        optimizer.zero_grad()
        loss = task.loss(model(batch.inputs), batch.targets)
        losses.append(loss.item())
        recent = losses[-WINDOW:]
        if len(recent) == WINDOW and sum(recent) / WINDOW < stop:
            break
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        optimizer.step()
        if len(losses) == recipe.updates:
            break
    with torch.no_grad():
        # A seed of its own: no sequence of the training is in it.
        test = next(task.batches(TEST_SEQUENCES, seed + 2**32))
        outputs = model(test.inputs)
        value = task.loss(outputs, test.targets).item()
        wrong = task.wrong(outputs, test.targets).double().mean().item()
    return Learnt(value <= LEARNT * task.baseline_loss, value, wrong, len(losses))
