"""Initialisations of the recurrent weights: matrices that keep the length of what they multiply."""

from __future__ import annotations

import math

import torch
from torch import nn

from carousel._errors import CarouselError
from carousel.init._parts import cell_of, checked_number, parts_of

__all__ = ["identity_", "orthogonal_"]


@torch.no_grad()
def orthogonal_(
    module: nn.Module,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    layer: str | None = None,
) -> nn.Module:
    """Make the recurrent weight of every gate orthogonal: W^T W = gain^2 I for each block of W_hh.

    ``weight_hh`` is a stack of one block [H, P] for each gate. Orthogonal columns of the stack as a
    whole, which torch.nn.init.orthogonal_ gives, leave the blocks themselves with singular values
    that spread around gain / sqrt(gates). Here all the singular values of each block equal the
    gain. With a projection, P < H, the columns of a block are orthogonal. All other parameters stay
    as they are.

    Source: Saxe, McClelland & Ganguli 2014, for one matrix.

    Args:
        module: a recurrent module, changed in place in all layers and directions.
        gain: the singular value of each block, at least 0.
        generator: where the matrices are drawn from; by default torch's own on the CPU. The numbers
            are the same on every device, up to the rounding of the module's dtype.
        layer: torch's suffix of the only layer to be changed, such as "l1_reverse"; None: all.

    Returns:
        The module.

    Raises:
        CarouselError: no recurrent module, or its weights cannot be written to.

    >>> gru = orthogonal_(nn.GRU(3, 2), gain=0.5)
    >>> for block in gru.weight_hh_l0.detach().chunk(3):
    ...     print(torch.linalg.svdvals(block).round(decimals=5))
    tensor([0.5000, 0.5000])
    tensor([0.5000, 0.5000])
    tensor([0.5000, 0.5000])
    """
    gain = checked_number("gain", gain, 0.0, "the singular value of every gate's block")
    device = "cpu" if generator is None else generator.device
    for part in parts_of(module, "weight_hh", layer=layer):
        for gate in part.cell.gates:
            rows = part.gate("weight_hh", gate)
            # In float64, whatever the module has: there is no QR in half precision.
            block = torch.empty(rows.shape, dtype=torch.float64, device=device)
            rows.copy_(nn.init.orthogonal_(block, gain, generator))
    return module


@torch.no_grad()
def identity_(module: nn.Module, scale: float = 1.0, *, layer: str | None = None) -> nn.Module:
    """Start a simple RNN as a copy of its own state: W_hh = scale * I, both biases zero.

    With relu and scale = 1 this is the IRNN: a state that is not negative stays as it is where no
    input arrives, and so does its gradient. With a smaller scale it fades by that factor a step.
    ``weight_ih`` stays as it is (the paper draws it from N(0, 0.001)).

    Source: Le, Jaitly & Hinton, *A simple way to initialize recurrent networks of rectified linear
    units*, 2015.

    Args:
        module: an RNN or an RNNCell, changed in place in all layers and directions.
        scale: what stands on the diagonal.
        layer: torch's suffix of the only layer to be changed, such as "l1_reverse"; None: all.

    Returns:
        The module.

    Raises:
        CarouselError: the module is an LSTM or a GRU, or its weights cannot be written to.

    >>> identity_(nn.RNN(3, 2, nonlinearity="relu"), 0.5).weight_hh_l0
    Parameter containing:
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]], requires_grad=True)
    """
    scale = checked_number("scale", scale, -math.inf, "what stands on the diagonal of W_hh")
    cell = cell_of(module)
    if len(cell.gates) > 1:
        raise CarouselError(
            "The identity is an initialisation of a simple RNN, and this "
            f"{type(module).__name__} has the gates {', '.join(cell.gates)}. A gated cell keeps "
            "its state through them: use carousel.init.forget_bias_ or chrono_, and "
            "carousel.init.orthogonal_ for its weights."
        )
    biases = ("bias_ih", "bias_hh") if module.bias else ()
    for part in parts_of(module, "weight_hh", *biases, layer=layer):
        nn.init.eye_(part.parameters["weight_hh"]).mul_(scale)
        for bias in biases:
            part.parameters[bias].zero_()
    return module
