"""Watch an LSTM while it trains, in a plain loop, and read how far its gradient reaches.

The task: remember the first of 50 numbers until the end. Every 25th backward pass is recorded.
"""

import torch
from torch import nn

import carousel

STEPS, BATCH, HIDDEN = 50, 32, 32


class Rememberer(nn.Module):
    """Reads numbers one by one and says at the end what the first one was."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [B, T, 1] -> [B, 1]."""
        output, _ = self.lstm(x)
        return self.head(output[:, -1])


def main() -> None:
    """Train for 100 steps and print the flow four times."""
    torch.manual_seed(0)
    model = Rememberer()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    with carousel.watch(model, every=25) as watcher:
        for step in range(100):
            x = torch.rand(BATCH, STEPS, 1)
            loss = nn.functional.mse_loss(model(x), x[:, 0])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % 25 == 0:
                layer = watcher.flow["lstm.l0"]
                first, last = layer.norm("d_h")[[0, -1]].median(dim=1).values
                print(f"step {step:3d}  loss {loss.item():.4f}  {layer.horizon()}")
                print(f"          |dL/dh| at the last step {last:.1e}, at the first {first:.1e}")


if __name__ == "__main__":
    main()
