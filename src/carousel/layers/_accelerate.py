"""Making the recurrent layers of a model ours, in place."""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from carousel._errors import CarouselError, kind_of
from carousel.layers._gru import GRU
from carousel.layers._lstm import LSTM
from carousel.layers._recurrent import Recurrent
from carousel.layers._rnn import RNN

__all__ = ["accelerate"]

OURS: dict[type[nn.Module], type[Recurrent]] = {nn.RNN: RNN, nn.LSTM: LSTM, nn.GRU: GRU}

Model = TypeVar("Model", bound=nn.Module)


def accelerate(model: Model) -> Model:
    """Make every ``torch.nn.RNN``, ``LSTM`` and ``GRU`` of a model Carousel's layer.

    The modules stay the objects that they are, only their class changes: parameters, optimizers,
    hooks, names, the training flag, and modules used in several places are as before.

    Args:
        model: any model, or one of these layers itself.

    Returns:
        The same model.

    Raises:
        CarouselError: not a module.

    Warns:
        UserWarning: subclasses of these layers are left as they are, and named; or there was
            nothing to do.

    Example:
        >>> import torch, carousel
        >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 5))
        >>> carousel.accelerate(model)
        Sequential(
          (0): LSTM(3, 5)
        )
        >>> isinstance(model[0], carousel.LSTM)
        True
    """
    if not isinstance(model, nn.Module):
        raise CarouselError(
            f"Expected a torch.nn.Module to accelerate, got {kind_of(model)}. Pass the model "
            "itself, not its class, output or parameters."
        )
    left, found = [], False
    for name, module in model.named_modules():
        kind = type_before_parametrizations(module)
        if kind in OURS:
            module.__class__ = _class_for(module, OURS[kind])
            found = True
        elif isinstance(module, tuple(OURS)):
            left.append(f"{name or 'the model itself'} ({kind.__name__})")
        elif isinstance(module, Recurrent):
            found = True
    if left:
        warnings.warn(
            f"carousel.accelerate left these as they are: {', '.join(left)}. They are subclasses "
            "of torch's layers, which may compute something else; derive them from carousel's "
            "layers instead.",
            stacklevel=2,
        )
    elif not found:
        warnings.warn(
            f"carousel.accelerate found no torch.nn.RNN, LSTM or GRU in {type(model).__name__}: "
            "nothing has changed.",
            stacklevel=2,
        )
    return model


def _class_for(module: nn.Module, ours: type[Recurrent]) -> type[Recurrent]:
    """Our class; for a parametrized module one that has the module's properties beside."""
    if not is_parametrized(module):
        return ours
    # torch gives each parametrized module a class of its own, which holds the properties.
    own = {
        name: member
        for name, member in vars(type(module)).items()
        if name not in ("__dict__", "__weakref__", "__doc__", "__module__")
    }
    return type(type(module).__name__, (ours,), {**own, "__module__": ours.__module__})
