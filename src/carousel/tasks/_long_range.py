"""What every long-range task gives: batches made from a seed, and what it takes to solve it.

A task is a description and a generator, not a data set: each batch is new, so that nothing can be
learnt by heart. Only the last step is asked about, and what it asks for lies a known number of
steps back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError

__all__ = ["LongRangeTask", "TaskBatch"]

WRONG_SHARE = 0.01  # Martens & Sutskever 2011, Pascanu et al. 2013: under 1 % of 10 000 wrong


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """Sequences of one task; batch-first, as in ``SequenceData``."""

    inputs: Tensor  # float32 [B, T, I]
    targets: Tensor  # float32 [B, 1], or classes int64 [B]
    lag_steps: Tensor  # int64 [B]: steps from the oldest input that the target needs to the last


@dataclass(frozen=True)
class LongRangeTask(ABC):
    """One long-range task with sequences of a given length.

    Args:
        steps: T, the number of steps in a sequence.

    Raises:
        CarouselError: the sequences would be too short for what the task puts into them.
    """

    steps: int

    name: ClassVar[str]
    description: ClassVar[str]  # a sentence or two
    source: ClassVar[str]
    least_steps: ClassVar[int]
    input_size: ClassVar[int]  # I
    output_size: ClassVar[int]  # of what a model has to say after the last step
    loss_name: ClassVar[str]
    baseline_loss: ClassVar[float]  # of the best answer that knows no input
    baseline_wrong: ClassVar[float]  # the share of sequences that this answer gets wrong
    baseline_description: ClassVar[str]
    criterion: ClassVar[str]  # when the task counts as solved, and who said so

    def __post_init__(self) -> None:
        if not whole(self.steps, self.least_steps):
            raise CarouselError(
                f"the task {self.name!r} needs sequences of at least {self.least_steps} steps, a "
                f"whole number, but steps is {self.steps!r}"
            )

    @classmethod
    def with_lag(cls, lag_steps: int) -> Self:
        """The task whose longest lag is ``lag_steps``, with the shortest sequences that have it.

        Raises:
            CarouselError: no sequences of this task have so short a lag.
        """
        shortest = cls(cls.least_steps)
        if not whole(lag_steps, shortest.lag_steps):
            raise CarouselError(
                f"the task {cls.name!r} has lags of {shortest.lag_steps} steps or more, whole "
                f"numbers, but lag_steps is {lag_steps!r}"
            )
        task = cls(max(lag_steps + 1, cls.least_steps))  # a lag of L steps takes L + 1 of them
        while task.lag_steps < lag_steps:
            task = cls(task.steps + 1)
        return task

    @property
    @abstractmethod
    def lag_steps(self) -> int:
        """The longest lag: steps from the oldest input that a target may need to the last step."""

    @property
    @abstractmethod
    def shortest_lag_steps(self) -> int:
        """The shortest lag: every sequence needs to look back this far at least."""

    @abstractmethod
    def batch(self, size: int, generator: torch.Generator) -> TaskBatch:
        """``size`` new sequences drawn from ``generator``, which has to be one of the CPU."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is trained on: the mean over the sequences, a scalar.

        Args:
            outputs: of a model after the last step, [B, ``output_size``].
            targets: of the same batch.
        """

    @abstractmethod
    def wrong(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Which sequences are answered wrongly, bool [B]; a NaN is wrong."""

    def batches(self, size: int, seed: int) -> Iterator[TaskBatch]:
        """Batches without end; the same ones for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield self.batch(size, generator)

    def solved(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether fewer than one sequence in a hundred is wrong, as ``criterion`` says."""
        return self.wrong(outputs, targets).double().mean().item() < WRONG_SHARE


class ClassTask(LongRangeTask):
    """A task whose answer is one of ``output_size`` classes, all of them equally often."""

    loss_name = "mean cross entropy, nats"
    criterion = "fewer than 1 % of 10 000 new sequences wrong (Pascanu et al. 2013)"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats of logits [B, C] and classes [B]."""
        return nn.functional.cross_entropy(outputs, targets)

    def wrong(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether another class than the right one has the largest logit."""
        return (outputs.argmax(dim=1) != targets) | outputs.isnan().any(dim=1)


def whole(number: object, least: int) -> bool:
    """Whether it is a whole number and not less than that."""
    return isinstance(number, int) and number >= least


def integers(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform whole numbers low .. high - 1, int64."""
    return torch.randint(low, high, shape, generator=generator)
