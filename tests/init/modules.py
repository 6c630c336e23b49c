"""The modules that the initialisations are tried on: each kind, in depth and in both directions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

INPUTS, H, P = 3, 5, 2
DEEP = {"num_layers": 2, "bidirectional": True}


def lstms() -> dict[str, nn.Module]:
    """Return modules with the gates i, f, g, o."""
    return {
        "LSTM": nn.LSTM(INPUTS, H),
        "LSTM deep": nn.LSTM(INPUTS, H, **DEEP),
        "LSTM projected": nn.LSTM(INPUTS, H, proj_size=P, **DEEP),
        "LSTMCell": nn.LSTMCell(INPUTS, H),
    }


def grus() -> dict[str, nn.Module]:
    """Return modules with the gates r, z, n."""
    return {
        "GRU": nn.GRU(INPUTS, H),
        "GRU deep": nn.GRU(INPUTS, H, **DEEP),
        "GRUCell": nn.GRUCell(INPUTS, H),
    }


def rnns() -> dict[str, nn.Module]:
    """Return modules without gates."""
    return {
        "RNN": nn.RNN(INPUTS, H),
        "RNN deep": nn.RNN(INPUTS, H, nonlinearity="relu", **DEEP),
        "RNNCell": nn.RNNCell(INPUTS, H, nonlinearity="relu"),
    }


def parameters(module: nn.Module, kind: str) -> Iterator[torch.Tensor]:
    """Yield every layer's and direction's parameter of one kind, as weight_hh."""
    for name, tensor in module.named_parameters():
        if name.startswith(kind):
            yield tensor.detach()


def total_biases(module: nn.Module, gates: str) -> Iterator[dict[str, torch.Tensor]]:
    """Yield b_ih + b_hh by gate, for every layer and direction."""
    for b_ih, b_hh in zip(
        parameters(module, "bias_ih"), parameters(module, "bias_hh"), strict=True
    ):
        yield dict(zip(gates, (b_ih + b_hh).chunk(len(gates)), strict=True))


def others(module: nn.Module, *written: str) -> dict[str, torch.Tensor]:
    """Return copies of the parameters whose names do not begin with one of ``written``."""
    return {
        name: tensor.detach().clone()
        for name, tensor in module.named_parameters()
        if not name.startswith(written)
    }
