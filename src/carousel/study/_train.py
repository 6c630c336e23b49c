"""A plain training loop: Adam on the mean cross entropy, with the gradient's norm clipped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.study._models import sequence_loss
from carousel.tasks import Metric, SequenceData

__all__ = ["Progress", "TrainingRecord", "evaluate", "train"]

End = Literal["epochs", "seconds", "not finite"]
TEST_BATCH = 256  # sequences measured at once; only memory and speed depend on it


@dataclass(frozen=True)
class Progress:
    """How far a training has come, told after each step."""

    step: int  # steps done so far, counted from 1
    epoch: int  # the running epoch, counted from 1
    loss: float  # of the step just done, in nats
    elapsed_seconds: float
    fraction: float  # of the epochs or of the seconds, whichever is further, from 0 to 1


@dataclass(frozen=True)
class TrainingRecord:
    """What one training did and what it reached."""

    losses: tuple[float, ...]  # one for each step, in nats, before the step's update
    gradient_norms: tuple[float, ...]  # one for each step, Euclidean, before clipping
    metric: Metric
    metrics: tuple[float, ...]  # on the test part: one for each epoch begun, at its end
    steps: int
    clipped_steps: int  # in which the gradient's norm was above clip_norm
    elapsed_seconds: float
    ended: End  # what ended it: all epochs done, the seconds used up, or a loss not finite

    @property
    def final_metric(self) -> float:
        """The metric on the test part after the last step."""
        return self.metrics[-1]


def train(  # noqa: PLR0913  each of them changes what is learnt, and all have a name at the call
    model: nn.Module,
    data: SequenceData,
    *,
    epochs: int | None = None,
    seconds: float | None = None,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    clip_norm: float = 1.0,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> TrainingRecord:
    """Train ``model`` in place on the training part, and measure it on the test part.

    Each epoch goes once through the training part in a new random order. After each epoch, and
    when the training ends within one, the model is measured on the test part. With both ``epochs``
    and ``seconds`` given, the first of the two to be reached ends the training. A loss that is
    infinite or NaN ends it too, before its gradient reaches the parameters.

    Args:
        model: takes inputs of ``data`` and returns logits for ``sequence_loss``.
        data: a data set of ``carousel.tasks``; moved to the model's device batch by batch.
        epochs: passes through the training part.
        seconds: wall-clock time after which no further step begins.
        batch_size: sequences in a step; the last step of an epoch may have fewer.
        learning_rate: of Adam; its other settings are torch's defaults.
        clip_norm: the largest Euclidean norm of the gradient of all parameters together;
            ``math.inf`` leaves the gradient as it is.
        seed: of the order of the sequences. The parameters come with the model.
        progress: called after each step.

    Raises:
        CarouselError: neither ``epochs`` nor ``seconds`` is given, or a number is not positive.
    """
    check_budget(
        epochs=epochs,
        seconds=seconds,
        batch_size=batch_size,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
    )
    device = next(model.parameters()).device
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    steps = None if epochs is None else epochs * math.ceil(len(data.train_inputs) / batch_size)
    log = Log(steps, seconds, progress)
    metrics: list[float] = []
    while log.ended is None:
        model.train()
        for inputs, targets in batches(data, batch_size, order):
            loss, norm = training_step(
                model, optimizer, inputs.to(device), targets.to(device), clip_norm
            )
            if log.add(loss, norm, epoch=len(metrics) + 1) is not None:
                break
        metrics.append(evaluate(model, data))
    return TrainingRecord(
        losses=tuple(log.losses),
        gradient_norms=tuple(log.norms),
        metric=data.metric,
        metrics=tuple(metrics),
        steps=len(log.losses),
        clipped_steps=sum(norm > clip_norm for norm in log.norms),
        elapsed_seconds=log.elapsed_seconds,
        ended=log.ended,
    )


class Log:
    """What the steps of a running training gave, and whether and why it has come to its end."""

    def __init__(
        self,
        steps: int | None,
        seconds: float | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.steps = steps
        self.seconds = seconds
        self.progress = progress
        self.start = time.perf_counter()
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.ended: End | None = None

    @property
    def elapsed_seconds(self) -> float:
        """The wall-clock time since the training began."""
        return time.perf_counter() - self.start

    def add(self, loss: float, norm: float, epoch: int) -> End | None:
        """Take note of one step, and say why the training ends with it, if it does.

        A step whose loss is not finite changed nothing and is not counted.
        """
        if not math.isfinite(loss):
            self.ended = "not finite"
            return self.ended
        self.losses.append(loss)
        self.norms.append(norm)
        elapsed = self.elapsed_seconds
        of_steps = 0.0 if self.steps is None else len(self.losses) / self.steps
        of_seconds = 0.0 if self.seconds is None else elapsed / self.seconds
        if of_steps >= 1:
            self.ended = "epochs"
        elif of_seconds >= 1:
            self.ended = "seconds"
        if self.progress is not None:
            fraction = min(1.0, max(of_steps, of_seconds))
            self.progress(Progress(len(self.losses), epoch, loss, elapsed, fraction))
        return self.ended


def evaluate(model: nn.Module, data: SequenceData) -> float:
    """The metric of ``data`` on its test part, in evaluation mode; the model's mode is restored.

    accuracy             the share of targets that have the largest logit
    bits per character   the mean cross entropy over all targets, divided by ln 2
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad():
        for inputs, targets in zip(
            data.test_inputs.split(TEST_BATCH), data.test_targets.split(TEST_BATCH), strict=True
        ):
            logits, wanted = model(inputs.to(device)), targets.to(device)
            if data.metric == "accuracy":
                total += (logits.argmax(dim=-1) == wanted).sum().item()
            else:
                total += sequence_loss(logits, wanted).item() * wanted.numel() / math.log(2)
    model.train(was_training)
    return total / data.test_targets.numel()


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    clip_norm: float,
) -> tuple[float, float]:
    """One update of the parameters, unless the loss is not finite.

    Returns:
        The loss before the update, in nats, and the gradient's norm before clipping.
    """
    optimizer.zero_grad()
    loss = sequence_loss(model(inputs), targets)
    value = loss.item()
    if not math.isfinite(value):
        return value, math.nan
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm).item()
    optimizer.step()
    return value, norm


def batches(
    data: SequenceData, batch_size: int, order: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """The training part once, in a random order drawn from ``order``."""
    for chosen in torch.randperm(len(data.train_inputs), generator=order).split(batch_size):
        yield data.train_inputs[chosen], data.train_targets[chosen]


def check_budget(*, epochs: int | None, seconds: float | None, **positive: float) -> None:
    """Refuse a training that has no end, and numbers that are not positive."""
    if epochs is None and seconds is None:
        raise CarouselError(
            "a training needs an end: give epochs (passes through the training part), seconds "
            "(of wall-clock time), or both; neither was given"
        )
    for name, value in {"epochs": epochs, "seconds": seconds, **positive}.items():
        if value is not None and not value > 0:
            raise CarouselError(f"{name} must be greater than 0, but is {value}")
