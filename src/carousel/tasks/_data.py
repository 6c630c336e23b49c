"""What every data set gives, whatever it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["Metric", "SequenceData"]

Metric = Literal["accuracy", "bits per character"]


@dataclass(frozen=True)
class SequenceData:
    """Sequences and what is to be said about them, split into a training and a test part.

    Every tensor is batch-first: the first axis counts the sequences, the second the steps. In the
    shapes below N is the number of sequences, T of steps, I of inputs at a step.

    The inputs are either numbers, float [N, T, I], or symbols, int64 [N, T]. The targets are either
    one class for a whole sequence, int64 [N], or one class for each of its steps, int64 [N, T].
    """

    name: str
    description: str  # one sentence
    train_inputs: Tensor  # [N, T, I] or [N, T]
    train_targets: Tensor  # [N] or [N, T]
    test_inputs: Tensor  # [N, T, I] or [N, T]
    test_targets: Tensor  # [N] or [N, T]
    classes: int
    metric: Metric
    baseline: float  # in the metric: what is reached on the test part without any memory
    baseline_description: str  # how that is reached, in a few words
    symbols: str = ""  # the characters behind the symbols, in their order; empty for numbers

    @property
    def steps(self) -> int:
        """T, the number of steps in a sequence."""
        return self.train_inputs.shape[1]

    @property
    def symbolic(self) -> bool:
        """Whether the inputs are symbols, which a model has to embed, and not numbers."""
        return not self.train_inputs.is_floating_point()

    @property
    def target_each_step(self) -> bool:
        """Whether each step has a target, and not the sequence as a whole."""
        return self.train_targets.ndim > 1
