"""The adding problem, in the variant of Le, Jaitly and Hinton.

There are at least four: in this one the numbers lie in [0, 1], one marker stands in each half of
the sequence, and the target is the sum. Hochreiter & Schmidhuber 1997 (experiment 4), Martens &
Sutskever 2011 and Bai et al. 2018 draw numbers and markers otherwise; losses do not compare.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from carousel.tasks._long_range import LongRangeTask, TaskBatch, integers

__all__ = ["Adding"]

TOLERANCE = 0.04  # of the sum: an error as large as this is wrong


class Adding(LongRangeTask):
    """Two of T random numbers are marked; after the last step their sum is asked for.

        x_t ~ U[0, 1];   m_t = 1 at t1 in {0 .. T//2 - 1} and at t2 in {T//2 .. T - 1}, else 0
        target = x_{t1} + x_{t2}

    The input of a step is (x_t, m_t). The lag of a sequence is T - 1 - t1: from half of the
    sequence to all of it. The constant 1 has the mean squared error Var(x_{t1} + x_{t2}) = 1/6; who
    remembers the second number alone reaches 1/12.

    Source: Le, Jaitly & Hinton 2015, section 4.1; Arjovsky, Shah & Bengio 2016; Tallec & Ollivier
    2018. They plot the mean squared error and name no threshold: the criterion is that of Martens &
    Sutskever 2011, for sums that reach from 0 to 2 where theirs reach from 0 to 1.

    Args:
        steps: T, at least 2.
    """

    name = "adding"
    description = (
        "Two of the random numbers in a sequence are marked, one in each half; their sum is asked "
        "for after the last step."
    )
    source = "Le, Jaitly & Hinton 2015, section 4.1"
    least_steps = 2
    input_size = 2
    output_size = 1
    loss_name = "mean squared error"
    baseline_loss = 1 / 6
    # |s - 1| < e for the triangular density of the sum s: a share of 2 e - e^2.
    baseline_wrong: ClassVar[float] = 1 - (2 * TOLERANCE - TOLERANCE**2)
    baseline_description = "always 1"
    criterion = "fewer than 1 % of 10 000 new sums off by 0.04 or more (Martens & Sutskever 2011)"

    @property
    def lag_steps(self) -> int:
        """T - 1: the first marker stands at the first step."""
        return self.steps - 1

    @property
    def shortest_lag_steps(self) -> int:
        """T - T//2: the first marker stands at the end of the first half."""
        return self.steps - self.steps // 2

    def batch(self, size: int, generator: torch.Generator) -> TaskBatch:
        """Inputs float32 [B, T, 2], numbers and markers; targets float32 [B, 1]."""
        numbers = torch.rand(size, self.steps, generator=generator)
        half = self.steps // 2
        first = integers(0, half, (size, 1), generator)
        second = integers(half, self.steps, (size, 1), generator)
        marked = torch.cat((first, second), dim=1)  # [B, 2]
        markers = torch.zeros_like(numbers).scatter_(1, marked, 1.0)
        targets = numbers.gather(1, marked).sum(dim=1, keepdim=True)
        lag_steps = self.steps - 1 - first.squeeze(1)
        return TaskBatch(torch.stack((numbers, markers), dim=-1), targets, lag_steps)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of sums [B, 1]."""
        return nn.functional.mse_loss(outputs, targets)

    def wrong(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether a sum is off by 0.04 or more."""
        return ~((outputs - targets).abs() < TOLERANCE).squeeze(1)
