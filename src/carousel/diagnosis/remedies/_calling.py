"""Changing how a recurrent module is called, while it stays the object that it is.

The module gets a class of its own, derived from its class, whose ``__call__`` does something around
the call. ``forward`` stays torch's, so the module is watched as before, each call of it by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._places import places_of
from carousel.diagnosis.remedies._undo import Undo
from carousel.trace import spec_of

__all__ = [
    "Around",
    "all_called_through",
    "called_through",
    "refuse_packed",
    "states_of",
    "unbroken",
    "with_states",
]

# (the module's own call, its arguments) -> what the call gives
Around = Callable[..., Any]


def all_called_through(
    model: nn.Module,
    layer: str,
    unfit: Callable[[nn.Module], str],
    around: Callable[[nn.Module], Around],
) -> Undo:
    """Let every call of the modules that ``layer`` names go through ``around(module)``.

    Raises:
        CarouselError: ``unfit`` gives a reason against one of them; the model is as it was.
    """
    applied = Undo()
    try:
        for place in places_of(model, layer, unfit):
            called_through(place.module, around(place.module), applied)
    except BaseException:
        applied.undo()
        raise
    return applied


def unbroken(module: nn.Module, cell: str, bidirectional: str) -> str:
    """Why a module cannot be called in pieces; "" where it can."""
    spec = spec_of(module)
    if spec.is_cell:
        return f"{type(module).__name__} {cell}"
    return bidirectional if spec.directions == 2 else ""


def called_through(module: nn.Module, around: Around, applied: Undo) -> None:
    """Let every call of a module go through ``around(call, *arguments)``."""
    kind = type(module)

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        def own(*args: Any, **kwargs: Any) -> Any:
            return kind.__call__(self, *args, **kwargs)

        applied.acted += 1
        return around(own, *args, **kwargs)

    changed = type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
    applied.keep_class(module, changed)
    object.__setattr__(module, "__class__", changed)


def states_of(hx: Any) -> tuple[Tensor, ...] | None:
    """The states in what a module takes and gives: (h,), (h, c), or None."""
    if hx is None:
        return None
    return tuple(hx) if isinstance(hx, tuple) else (hx,)


def with_states(like: Any, states: tuple[Tensor, ...]) -> Any:
    """The states in the form in which the module gives them."""
    return states if isinstance(like, tuple) else states[0]


def refuse_packed(input: Any, remedy: str) -> None:  # noqa: A002 - torch's name
    """Refuse what is not a padded tensor.

    Raises:
        CarouselError: a packed sequence.
    """
    if isinstance(input, PackedSequence):
        raise CarouselError(
            f"{remedy} needs a padded tensor as the module's input, got a PackedSequence. Hand the "
            "module the padded batch, or change the training loop by hand."
        )
    if not isinstance(input, torch.Tensor):
        raise CarouselError(
            f"{remedy} needs a tensor as the module's input, got {type(input).__name__}."
        )
