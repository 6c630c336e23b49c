"""What can be asked of a layer over time by name, and the kinds of values that come back."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Scaled
from carousel.trace import Trace

__all__ = ["Category", "categories", "pre_activations", "quantity"]


class Category(IntEnum):
    """Five reasons why a norm may not be a plain number, and the case in which it is one."""

    VALUE = 0
    ZERO = 1  # exactly zero, not merely small
    UNDERFLOW = 2  # not zero, but every entry below the smallest normal number of the dtype
    INFINITE = 3  # infinite, or beyond the largest number of the dtype
    NAN = 4
    PADDING = 5  # a step beyond the sequence's length


def quantity(trace: Trace, name: str, also: tuple[str, ...] = ()) -> Scaled:
    """A quantity of a trace by its name; a miss lists the names that this layer has.

    Args:
        trace: of one layer.
        name: of the quantity.
        also: further names that the caller knows, for the list.
    """
    trajectory = trace.trajectory
    known: dict[str, Scaled | Tensor | None] = {
        "d_h": trace.d_h,
        "d_c": trace.d_c,
        "d_h_injected": trace.d_h_injected,
        "d_c_injected": trace.d_c_injected,
        "h": trajectory.h,
        "c": trajectory.c,
        "x": trace.x,
    }
    there = {key: value for key, value in known.items() if value is not None}
    if name not in there:
        raise CarouselError(
            f"{trace.name} ({trace.cell.name}) has no quantity {name!r}. "
            f"It has: {', '.join(dict.fromkeys((*there, *also)))}."
        )
    found = there[name]
    return found if isinstance(found, Scaled) else Scaled(found)


def pre_activations(trace: Trace) -> dict[str, Tensor]:
    """The arguments of the activations, by the names of the gates, each [T, B, H]; 0 at padding.

    A trace does not keep them: they are one product with the weights away.
    """
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        found = trace.cell.pre_activations(trace.x, trace.trajectory, trace.weights)
        valid = trace.valid.unsqueeze(-1)
        return {gate: torch.where(valid, a, 0.0) for gate, a in found.items()}


def categories(scaled: Scaled, dtype: torch.dtype, valid: Tensor) -> Tensor:
    """The category of every step and sequence, [T, B] int8.

    Args:
        scaled: the quantity.
        dtype: of the module's arithmetic, whose range decides what under- and overflows.
        valid: which steps hold data [T, B].
    """
    log2 = scaled.log2_largest()
    limits = torch.finfo(dtype)
    result = torch.full(log2.shape, int(Category.VALUE), dtype=torch.int8, device=log2.device)
    tiny = torch.tensor(limits.tiny, dtype=torch.float64).log2()
    huge = torch.tensor(limits.max, dtype=torch.float64).log2()
    result[log2 < tiny] = Category.UNDERFLOW
    result[log2 == -torch.inf] = Category.ZERO
    result[log2 > huge] = Category.INFINITE
    result[log2.isnan()] = Category.NAN
    result[~valid] = Category.PADDING
    return result
