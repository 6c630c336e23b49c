"""Our layers' oracle: each sequence on its own, layer by layer, step by step."""

from __future__ import annotations

import torch
from tests.oracles import step_of
from torch import nn

__all__ = ["Looped", "loop"]

Looped = tuple[list[torch.Tensor], torch.Tensor, torch.Tensor | None]
SUFFIXES = ("", "_reverse")


def loop(
    module: nn.Module, oracle: str, sequences: list[torch.Tensor], starts: list[torch.Tensor]
) -> Looped:
    """Run a layer's parameters through a loop.

    Args:
        module: for its parameters and its options, not for its code.
        oracle: the oracle's name of the cell.
        sequences: each [length, I], in the user's order.
        starts: h_0 and, for an LSTM, c_0, [layers * directions, B, ..].

    Returns:
        The output of each sequence [length, directions * P], h_n and c_n.
    """
    truncated = getattr(module, "gradient", "full") == "1997"
    outputs, ends = [], []
    for b, sequence in enumerate(sequences):
        below, last = sequence, []
        for layer in range(module.num_layers):
            sides = []
            for suffix in SUFFIXES[: 1 + module.bidirectional]:
                state = [start[len(last), b] for start in starts]
                tensors = _tensors(module, f"_l{layer}{suffix}")
                h, c = state[0], state[1] if len(state) == 2 else None
                steps = [h] * len(below)
                order = range(len(below))
                for t in reversed(order) if suffix else order:
                    step = step_of(oracle, tensors, below[t], h, c, truncated=truncated)
                    h, c = step.h, step.c
                    steps[t] = h
                sides.append(torch.stack(steps))
                last.append((h, c))
            below = torch.cat(sides, dim=-1)
        outputs.append(below)
        ends.append(last)
    h_n = torch.stack([torch.stack([h for h, _ in last]) for last in ends], dim=1)
    if len(starts) == 1:
        return outputs, h_n, None
    return outputs, h_n, torch.stack([torch.stack([c for _, c in last]) for last in ends], dim=1)


def _tensors(module: nn.Module, suffix: str) -> dict[str, torch.Tensor]:
    return {
        name.removesuffix(suffix): parameter
        for name, parameter in module.named_parameters()
        if name.endswith(suffix)
    }
