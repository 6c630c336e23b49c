"""A cell of which only the step is known: its derivative is autograd's, its gates are nobody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells._cell import Cell, State, Weights

__all__ = ["opaque_cell"]

NO_NATIVE_CODE = -1  # the native core has no code for it, and is never asked


def opaque_cell(name: str, function: Callable[[Tensor, State], State], *, has_c: bool) -> Cell:
    """A cell out of a function ``(x_t [B, ..], state) -> state``.

    Args:
        name: what reports call it.
        function: one step; the state is ``(h [B, P],)`` or ``(h [B, P], c [B, H])``.
        has_c: whether the state has a second part.

    Returns:
        A cell with ``derived=False``. Whatever needs its equations is refused by name.
    """

    def step(x: Tensor, state: State, _: Weights) -> State:
        return function(x, state)

    return Cell(
        name=name,
        gates=(),
        has_c=has_c,
        step=step,
        replay=_refuse(name, "replay from its weights"),
        linearise=_refuse(name, "derivative by hand, nor paths through its gates"),
        pre_activations=_refuse(name, "pre-activations"),
        unprojected=_refuse(name, "state before the projection"),
        native_code=NO_NATIVE_CODE,
        derived=False,
    )


def _refuse(name: str, what: str) -> Callable[..., Any]:
    def refused(*_: object, **__: object) -> NoReturn:
        raise CarouselError(
            f"{name} was measured as a function (x_t, state) -> state, which has no {what}. "
            "Measure torch.nn.RNN, LSTM or GRU, their *Cell modules (such as an LSTMCell) called "
            "in a loop, or one of Carousel's layers, with "
            "carousel.measure to see inside a step."
        )

    return refused
