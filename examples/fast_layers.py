"""Carousel's own LSTM: made of a model's torch.nn.LSTM, initialised for long lags, and watched.

The task: remember the first of 100 numbers until the end. The same model is trained three times:
as torch leaves it, with chrono initialisation, and with the truncated gradient of 1997 beside that.
"""

import torch
from torch import nn

import carousel

STEPS, BATCH, HIDDEN = 100, 32, 32


class Rememberer(nn.Module):
    """Reads numbers one by one and says at the end what the first one was."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.lstm = recurrent
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [T, B, 1] -> [B, 1]."""
        output, _ = self.lstm(x)
        return self.head(output[-1])


def trained(title: str, model: Rememberer) -> None:
    """Train for 60 steps; print how far back the gradient reaches, at first and at the end."""
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    print(title)
    with carousel.watch(model, every=59) as watcher:
        for step in range(60):
            x = torch.rand(STEPS, BATCH, 1)
            loss = nn.functional.mse_loss(model(x), x[0])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step in (0, 59):
                layer = watcher.flow["lstm.l0"]
                first, last = layer.log10_norm("d_c")[[0, -1]].median(dim=1).values
                print(
                    f"  step {step:2d}  loss {loss.item():.4f}  "
                    f"log10 |dL/dc|: {last:6.2f} at the last number, {first:6.2f} at the first"
                )
    for note in watcher.flow.notes:
        print(f"  {note}")


def main() -> None:
    """Train the three models one after the other."""
    torch.manual_seed(0)
    plain = Rememberer(nn.LSTM(1, HIDDEN))
    trained("As torch initialises it", carousel.accelerate(plain))  # from here on a carousel.LSTM

    torch.manual_seed(0)
    model = Rememberer(carousel.LSTM(1, HIDDEN))
    carousel.init.chrono_(model.lstm, longest_lag_steps=STEPS)
    trained("Chrono initialisation: the units forget in 1 to 100 steps", model)

    torch.manual_seed(0)
    model = Rememberer(carousel.LSTM(1, HIDDEN, gradient="1997"))
    carousel.init.chrono_(model.lstm, longest_lag_steps=STEPS)
    trained("The same with the truncated gradient of 1997", model)


if __name__ == "__main__":
    main()
