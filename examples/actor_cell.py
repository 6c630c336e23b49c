"""An actor with an LSTMCell in its own loop, its state reset where an episode ends.

What comes back through the reset mask counts as carried through time, what the policy's loss sends
at a step as injected there.
"""

import torch
from torch import nn

import carousel

STEPS, ENVIRONMENTS, HIDDEN = 40, 8, 32


class Actor(nn.Module):
    """A recurrent policy with two actions."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, HIDDEN)
        self.policy = nn.Linear(HIDDEN, 2)


def rollout_loss(actor: Actor, observations: torch.Tensor, done: torch.Tensor) -> torch.Tensor:
    """A policy-gradient loss with random returns: observations [T, B, 4], done [T, B]."""
    h = c = torch.zeros(ENVIRONMENTS, HIDDEN)
    losses = []
    for observation, ended in zip(observations, done, strict=True):
        h, c = actor.cell(observation, (h, c))
        actions = torch.distributions.Categorical(logits=actor.policy(h))
        losses.append(-(actions.log_prob(actions.sample()) * torch.randn(ENVIRONMENTS)).mean())
        alive = 1 - ended.float().unsqueeze(1)
        h, c = h * alive, c * alive
    return torch.stack(losses).mean()


def main() -> None:
    """Measure one rollout."""
    torch.manual_seed(0)
    actor = Actor()
    observations = torch.randn(STEPS, ENVIRONMENTS, 4)
    done = torch.rand(STEPS, ENVIRONMENTS) < 0.03
    flow = carousel.measure(actor, lambda: rollout_loss(actor, observations, done))

    layer = flow["cell"]
    print(layer.horizon())
    print(*flow.notes, sep="\n")
    total, injected = layer.norm("d_h").mean(1), layer.norm("d_h_injected").mean(1)
    for t in range(0, STEPS, 8):
        print(f"step {t:2d}: |dL/dh| in total {total[t]:.2e}, injected there {injected[t]:.2e}")


if __name__ == "__main__":
    main()
