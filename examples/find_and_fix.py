"""From a sick LSTM to the change that helps it: diagnose, then verify a remedy by training.

python examples/find_and_fix.py
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import carousel
from carousel.tasks import long_range

TASK = long_range("delayed-recall", 60)


class Recall(nn.Module):
    """An LSTM that says after a delay what it was shown first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(TASK.input_size, 32, batch_first=True)
        self.head = nn.Linear(32, TASK.output_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [B, T, I] -> [B, classes]."""
        return self.head(self.lstm(x)[0][:, -1])


def train_step(model: nn.Module) -> Callable[[], torch.Tensor]:
    """What ``verify`` trains with: an optimizer and data of its own for each model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    batches = TASK.batches(32, seed=1)

    def step() -> torch.Tensor:
        batch = next(batches)
        optimizer.zero_grad()
        loss = TASK.loss(model(batch.inputs), batch.targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def main() -> None:
    """Diagnose, and prove the first remedy."""
    torch.manual_seed(0)
    model = Recall()
    batch = TASK.batch(16, torch.Generator().manual_seed(0))
    flow = carousel.measure(model, (batch.inputs, batch.targets), TASK.loss)
    findings = carousel.diagnose(flow, lag=60)
    for finding in findings:
        print(f"{finding.severity}: {finding.sentence}")
    remedy = findings[0].remedies[0]
    print(f"\n{remedy.sentence()}\n")
    print(carousel.verify(model, remedy, train_step, steps=300, lag=60))


if __name__ == "__main__":
    main()
