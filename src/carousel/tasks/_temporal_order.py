"""The temporal order problem with two symbols."""

from __future__ import annotations

import math

import torch

from carousel.tasks._long_range import ClassTask, TaskBatch, integers

__all__ = ["TemporalOrder"]

TELLING = 2  # symbols that count, here A and B
DISTRACTORS = 4  # symbols that do not


class TemporalOrder(ClassTask):
    """Twice in a sequence stands A or B, among four other symbols: AA, AB, BA or BB?

        t1 in {D .. 2D - 1},   t2 in {5D .. 6D - 1},   D = T//10
        target = 2 * (B at t1) + (B at t2)

    A step's input is one symbol of six, one-hot: A, B, and four distractors that fill all the other
    steps at random. The lag of a sequence is T - 1 - t1, about four fifths to nine tenths of its
    length. No step but t1 and t2 tells anything, so that without memory all four classes are alike:
    ln 4 nats, three quarters wrong. Who remembers one of the symbols gets half of them right.

    Source: Hochreiter & Schmidhuber 1997, experiment 6a, in the form of Pascanu, Mikolov & Bengio
    2013: one length for all sequences, places in proportion to it, no symbols that mark the ends.

    Args:
        steps: T, at least 10.
    """

    name = "temporal-order"
    description = (
        "At two steps stands A or B, at all others one of four distractors; which two it was, in "
        "which order, is asked after the last step."
    )
    source = "Hochreiter & Schmidhuber 1997, experiment 6a; Pascanu, Mikolov & Bengio 2013"
    least_steps = 10
    input_size = TELLING + DISTRACTORS
    output_size = TELLING**2
    baseline_loss = math.log(TELLING**2)
    baseline_wrong = 1 - 1 / TELLING**2
    baseline_description = "any class"

    @property
    def lag_steps(self) -> int:
        """T - 1 - D: the first symbol stands as early as it may."""
        return self.steps - 1 - self.steps // 10

    @property
    def shortest_lag_steps(self) -> int:
        """T - 2 D: it stands as late as it may."""
        return self.steps - 2 * (self.steps // 10)

    def batch(self, size: int, generator: torch.Generator) -> TaskBatch:
        """Inputs float32 [B, T, 6], one-hot; targets int64 [B] from 0 to 3."""
        width = self.steps // 10
        symbols = integers(TELLING, TELLING + DISTRACTORS, (size, self.steps), generator)
        first = integers(width, 2 * width, (size, 1), generator)
        second = integers(5 * width, 6 * width, (size, 1), generator)
        telling = integers(0, TELLING, (size, 2), generator)
        symbols.scatter_(1, torch.cat((first, second), dim=1), telling)
        inputs = torch.eye(TELLING + DISTRACTORS)[symbols]
        targets = TELLING * telling[:, 0] + telling[:, 1]
        return TaskBatch(inputs, targets, self.steps - 1 - first.squeeze(1))
