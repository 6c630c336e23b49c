"""Changing how a recurrent module is called, while it stays the object that it is.

The module gets a class derived from its own, whose ``__call__`` does something around the call.
``forward`` stays torch's, so the module is watched as before, each call of it by itself. What is
done stands in the module's attributes, so that the module can be copied and saved with it.
"""

from __future__ import annotations

import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._places import Place, places_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo
from carousel.trace import spec_of

__all__ = [
    "DETACHED",
    "CalledThrough",
    "Way",
    "all_called_through",
    "called_through",
    "class_called_through",
    "refuse_packed",
    "states_of",
    "unbroken",
    "with_states",
]

DETACHED = (  # the line of a loop that cuts the graph at its state
    "    many = isinstance(state, tuple)  # as an LSTM's\n"
    "    state = tuple(s.detach() for s in state) if many else state.detach()"
)
WAYS = "_carousel_ways"  # the attribute of a module that holds them


class Way(ABC):
    """What is done around each call of a module.

    A copy of it, as in a copy of the module, has the same options, has seen no call, and counts for
    nobody; so has one that was saved and loaded.
    """

    def __init__(self, *options: Any) -> None:
        self.options = options
        self.counts_for: weakref.ref[Undo] | None = None

    @abstractmethod
    def __call__(self, module: nn.Module, call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Call the module by ``call``, which takes what the module takes."""

    def acted(self) -> None:
        """Count a call in which something was changed."""
        applied = None if self.counts_for is None else self.counts_for()
        if applied is not None:
            applied.acted += 1

    def __deepcopy__(self, memo: dict[int, Any]) -> Way:
        return type(self)(*self.options)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.options


class CalledThrough(nn.Module):
    """A module whose calls go through its ways, the last that was added outermost."""

    called_as: ClassVar[type[nn.Module]]  # the class that the module had before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        call: Callable[..., Any] = super().__call__
        for way in vars(self).get(WAYS, ()):
            call = functools.partial(way, self, call)
        return call(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and save it by the class that it had before: the derived one has no name."""
        parts = super().__reduce_ex__(max(2, protocol))
        return (_empty, (self.called_as,), *parts[2:])


def _empty(kind: type[nn.Module]) -> nn.Module:
    derived = class_called_through(kind)
    return derived.__new__(derived)


def class_called_through(kind: type[nn.Module]) -> type[nn.Module]:
    """The class derived from ``kind`` whose calls go through the ways of a module; one for each."""
    if kind not in DERIVED:
        own = {"called_as": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        DERIVED[kind] = type(kind.__name__, (CalledThrough, kind), own)
    return DERIVED[kind]


DERIVED: dict[type[nn.Module], type[nn.Module]] = {}


def all_called_through(
    model: nn.Module,
    remedy: Remedy,
    unfit: Callable[[Place], str],
    made: Callable[[], Way],
) -> Undo:
    """Let every call of the modules that the remedy's layer names go through a way of its own.

    Raises:
        CarouselError: ``unfit`` gives a reason against one of them; the model is as it was.
    """
    applied = Undo(remedy)
    try:
        for place in places_of(model, remedy.layer, unfit):
            called_through(place.module, made(), applied)
        return applied
    except BaseException:
        applied.undo()
        raise


def unbroken(place: Place, cell: str, bidirectional: str) -> str:
    """Why a module cannot be called in pieces; "" where it can."""
    spec = spec_of(place.module)
    if spec.is_cell:
        return f"{type(place.module).__name__} {cell}"
    return bidirectional if spec.directions == 2 else ""


def called_through(module: nn.Module, way: Way, applied: Undo) -> None:
    """Let every call of a module go through ``way``."""
    way.counts_for = weakref.ref(applied)

    def back() -> None:
        ways = tuple(each for each in vars(module).get(WAYS, ()) if each is not way)
        if ways:
            vars(module)[WAYS] = ways
            return
        vars(module).pop(WAYS, None)
        kind = type(module)
        if "called_as" in vars(kind) and issubclass(kind, CalledThrough):
            object.__setattr__(module, "__class__", kind.called_as)

    applied.will_change(module)
    applied.before_leaving(back)
    vars(module)[WAYS] = (*vars(module).get(WAYS, ()), way)
    if not isinstance(module, CalledThrough):
        object.__setattr__(module, "__class__", class_called_through(type(module)))


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
