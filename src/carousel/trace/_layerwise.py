"""Dropout between the layers of a stack: its masks, and a forward in which they can be seen.

On the CPU torch draws the masks from the global generator, one for each layer but the last, so the
generator's state before the forward gives them again. cuDNN draws them where nobody can look;
there the module's forward is done once more layer by layer, with masks of our own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from carousel.cells import Weights
from carousel.trace._layout import Layout
from carousel.trace._modules import Spec, run_layer

__all__ = ["forward_layerwise", "masks_again", "masks_readable"]


def masks_readable(x: Tensor) -> bool:
    """Whether a forward on ``x`` draws its masks from a generator that can be set back."""
    return x.device.type == "cpu"  # cuDNN draws inside its kernel


def draw_masks(spec: Spec, layout: Layout, like: Tensor) -> list[Tensor]:
    """Draw the masks of one forward as torch does, each [T, B, D*P], scaled by 1 / (1 - p).

    Args:
        spec: of the module.
        layout: of the call.
        like: the module's output as it gave it; every layer's output has the same shape.
    """
    ones = torch.ones_like(like)
    if layout.packed is None:
        ones = layout.sequence(ones).contiguous()  # inside, torch goes time first
        return [torch.dropout(ones, spec.dropout, True) for _ in range(spec.layers - 1)]
    return [
        layout.sequence(torch.dropout(ones, spec.dropout, True)) for _ in range(spec.layers - 1)
    ]


def masks_again(spec: Spec, layout: Layout, like: Tensor, rng_state: Tensor) -> list[Tensor]:
    """The masks that a forward drew from the CPU generator; the generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng_state)
        return draw_masks(spec, layout, like)


def forward_layerwise(
    weights: list[Weights],
    spec: Spec,
    layout: Layout,
    x: Tensor,
    states: tuple[Tensor, ...],
    like: Tensor,
) -> tuple[Any, list[Tensor]]:
    """The module's forward with dropout masks drawn here: its result and the masks.

    Args:
        weights: those that the forward read, layer by layer, the directions side by side.
        spec: of the module, a stack with dropout between its layers, in training mode.
        layout: of the call.
        x: the input as the module got it (packed: the data).
        states: (h_0,) or (h_0, c_0) as the module got them; () for zeros.
        like: an output of the module for the same input.
    """
    masks = draw_masks(spec, layout, like.detach())
    y = layout.sequence(x)
    lengths = layout.lengths(*y.shape[:2])
    start = [layout.state(state) for state in states] or zero_states(spec, weights, y)
    ends: list[tuple[Tensor, ...]] = []
    for layer in range(spec.layers):
        place = slice(layer * spec.directions, (layer + 1) * spec.directions)
        y, *end = run_layer(
            spec, weights[place], y, tuple(state[place] for state in start), lengths
        )
        ends.append(tuple(end))
        if layer < spec.layers - 1:
            y = y * masks[layer]
    final = tuple(torch.cat(parts) for parts in zip(*ends, strict=True))
    if layout.unbatched:
        final = tuple(state.squeeze(1) for state in final)
    return (_as_module_output(layout, y, lengths), final if spec.cell.has_c else final[0]), masks


def zero_states(spec: Spec, weights: list[Weights], x: Tensor) -> list[Tensor]:
    """Initial states of zero, (h_0,) or (h_0, c_0), for an input [T, B, I]."""
    count, batch = spec.layers * spec.directions, x.shape[1]
    w_hh = weights[0].w_hh
    sizes = [w_hh.shape[1]] + [w_hh.shape[0] // len(spec.cell.gates)] * spec.cell.has_c
    return [x.new_zeros(count, batch, size) for size in sizes]


def _as_module_output(layout: Layout, y: Tensor, lengths: Tensor) -> Tensor | PackedSequence:
    if layout.packed is not None:
        sorted_first = layout.packed.sorted_indices is not None
        return pack_padded_sequence(y, lengths, enforce_sorted=not sorted_first)
    if layout.unbatched:
        return y.squeeze(1)
    return y.transpose(0, 1) if layout.spec.batch_first else y
