"""What a layer is called with, checked before anything runs.

The errors are of the types that ``torch.nn`` raises, so that code that expects those still works;
they say what was expected, what came, and what to do next.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from carousel._errors import kind_of

__all__ = ["check_batch_sizes", "check_input", "check_options", "check_state"]

LSTM_ONLY = ("proj_size", "variant", "squashers", "gradient")


def check_options(kind: str, options: dict[str, object]) -> None:
    """Refuse what a layer does not take, by name.

    Raises:
        ValueError: an option of the LSTM alone.
        TypeError: any other.
    """
    for name in options:
        if name in LSTM_ONLY:
            raise ValueError(
                f"{name} is an option of carousel.LSTM; carousel.{kind} does not have it. "
                f"Leave it out, or use carousel.LSTM({name}=...)."
            )
        raise TypeError(f"carousel.{kind}() got an unexpected keyword argument {name!r}.")


def check_input(x: object, weight: Tensor, input_size: int, packed: bool) -> None:
    """Check an input, or the data of a packed one.

    Args:
        x: what came.
        weight: a weight of the layer, for dtype and device.
        input_size: I.
        packed: whether x are the data of a PackedSequence [N, I].

    Raises:
        TypeError: not a tensor.
        ValueError: wrong rank or dtype.
        RuntimeError: wrong size or device.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            "The input must be a Tensor or a PackedSequence, but it is "
            f"{kind_of(x)}. Stack the steps (torch.stack) or pack the sequences "
            "(torch.nn.utils.rnn.pack_sequence)."
        )
    if packed:
        if x.dim() != 2:
            raise RuntimeError(
                f"The data of a PackedSequence must have 2 dimensions [N, input_size], but they "
                f"have {x.dim()}: {_shape(x)}."
            )
    elif x.dim() not in (2, 3):
        raise ValueError(
            "Expected the input to be 3D, [T, B, input_size] or with batch_first "
            f"[B, T, input_size], or 2D, [T, input_size]; got {x.dim()}D: {_shape(x)}."
        )
    if x.shape[-1] != input_size:
        raise RuntimeError(
            f"The last axis of the input must be input_size = {input_size}, but the input is "
            f"{_shape(x)}."
        )
    if x.device != weight.device:
        raise RuntimeError(
            f"The input is on {x.device} and the weights on {weight.device}. "
            f"Move the input, x.to({str(weight.device)!r}), or the layer."
        )
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return
    if not x.is_floating_point():
        raise ValueError(
            f"The input is {x.dtype}, and a layer takes floating-point numbers. Convert it, "
            f"x.to({weight.dtype}); numbers of tokens or classes go through torch.nn.Embedding or "
            "one_hot first."
        )
    raise ValueError(
        f"The input is {x.dtype} and the weights are {weight.dtype}. "
        f"Convert the input, x.to({weight.dtype}), or the layer, .to({x.dtype})."
    )


def check_batch_sizes(batch_sizes: Tensor, rows: int) -> None:
    """Check that a PackedSequence is one: sizes that never increase and sum up to the rows.

    Raises:
        RuntimeError: it is not.
    """
    sizes = batch_sizes.tolist()
    falling = all(later <= earlier for earlier, later in pairwise(sizes))
    if not sizes or sizes[-1] < 1 or not falling or sum(sizes) != rows:
        shown = ", ".join(map(str, sizes[:8])) + (", .." if len(sizes) > 8 else "")
        raise RuntimeError(
            f"The batch_sizes of this PackedSequence, [{shown}], must be positive, never increase, "
            f"and sum up to its {rows} rows. Make it with torch.nn.utils.rnn.pack_padded_sequence "
            "or pack_sequence."
        )


def check_state(name: str, state: object, x: Tensor, shape: tuple[int, ...], batched: bool) -> None:
    """Check h_0 or c_0.

    Args:
        name: "h_0" or "c_0".
        state: what came.
        x: the input, for dtype and device.
        shape: what is expected, with the axis of the sequences only where ``batched``.
        batched: whether the input has sequences side by side.

    Raises:
        TypeError: not a tensor.
        RuntimeError: wrong rank, shape, dtype or device.
    """
    if not isinstance(state, Tensor):
        raise TypeError(f"{name} must be a Tensor, but it is {kind_of(state)}.")
    if state.dim() != len(shape):
        kind = "batched (3D)" if batched else "unbatched (2D)"
        raise RuntimeError(
            f"For {kind} input {name} must have {len(shape)} dimensions too, "
            f"{list(shape)}, but it has {state.dim()}: {_shape(state)}."
        )
    if tuple(state.shape) != shape:
        raise RuntimeError(
            f"Expected {name} of size {list(shape)}, [num_layers * directions"
            f"{', B' if batched else ''}, units], got {_shape(state)}."
        )
    if state.device != x.device:
        raise RuntimeError(
            f"{name} is on {state.device} and the input on {x.device}. "
            f"Move it: {name}.to({str(x.device)!r})."
        )
    if state.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise RuntimeError(
            f"{name} is {state.dtype} and the input is {x.dtype}. Convert it: {name}.to({x.dtype})."
        )


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
