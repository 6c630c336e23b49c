"""The training step for those who gave none: Adam on one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from carousel.diagnosis._trial import TrainStep
from carousel.flow import loss_of

__all__ = ["LEARNING_RATE", "adam_on"]

LEARNING_RATE = 3e-3  # as carousel.study trains; torch's defaults otherwise


def adam_on(
    batch: Any, loss_fn: Callable[..., Tensor] | None, learning_rate: float = LEARNING_RATE
) -> TrainStep:
    """Steps of Adam on the same batch again and again, without clipping.

    It says whether a model can learn this batch, and nothing of whether it generalises.

    Args:
        batch: as ``carousel.measure`` takes it.
        loss_fn: likewise.
        learning_rate: of Adam.
    """

    def train_step(model: nn.Module) -> Callable[[], Tensor]:
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(model, batch, loss_fn)
            loss.backward()
            optimizer.step()
            return loss

        return step

    return train_step
