"""Delayed recall: one symbol to be kept, and nothing else to be done."""

from __future__ import annotations

import math

import torch

from carousel.tasks._long_range import ClassTask, TaskBatch, integers

__all__ = ["DelayedRecall"]

SYMBOLS = 4  # one of which is to be recalled
DISTRACTORS = 4


class DelayedRecall(ClassTask):
    """Which of four symbols stood at the first step, after T - 1 steps of other symbols.

        s_0 in {0 .. 3},   s_1 .. s_{T-1} in {4 .. 7} at random;   target = s_0

    A step's input is one symbol of eight, one-hot. The lag is T - 1 in every sequence, exactly; the
    symbol is shown once, nothing marks the step at which it is asked for, and no other step tells
    anything about it. Without memory all four are alike: ln 4 nats, three quarters wrong.

    Source: what is asked for at the last step of Hochreiter & Schmidhuber 1997, experiment 2b
    (long time lag, distractors at random), with four symbols where they have two, and no other step
    predicted. As it is set here nobody has published numbers for it; the criterion is that of the
    temporal order problem.

    Args:
        steps: T, at least 2.
    """

    name = "delayed-recall"
    description = (
        "The first step shows one of four symbols, all the others show distractors; which it was "
        "is asked after the last step."
    )
    source = "after Hochreiter & Schmidhuber 1997, experiment 2b"
    least_steps = 2
    input_size = SYMBOLS + DISTRACTORS
    output_size = SYMBOLS
    baseline_loss = math.log(SYMBOLS)
    baseline_wrong = 1 - 1 / SYMBOLS
    baseline_description = "any symbol"

    @property
    def lag_steps(self) -> int:
        """T - 1."""
        return self.steps - 1

    @property
    def shortest_lag_steps(self) -> int:
        """T - 1 too."""
        return self.steps - 1

    def batch(self, size: int, generator: torch.Generator) -> TaskBatch:
        """Inputs float32 [B, T, 8], one-hot; targets int64 [B] from 0 to 3."""
        symbols = integers(SYMBOLS, SYMBOLS + DISTRACTORS, (size, self.steps), generator)
        symbols[:, 0] = integers(0, SYMBOLS, (size,), generator)
        inputs = torch.eye(SYMBOLS + DISTRACTORS)[symbols]
        lag_steps = torch.full((size,), self.lag_steps)
        return TaskBatch(inputs, symbols[:, 0].clone(), lag_steps)
