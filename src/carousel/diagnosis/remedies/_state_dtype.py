"""The recurrence in a wider dtype than the rest of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._calling import Way, called_through, states_of, with_states
from carousel.diagnosis.remedies._places import Place, in_a_loop, places_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo

__all__ = ["StateDtype"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class StateDtype(Remedy):
    """Run a recurrent module in ``dtype``, autocast or not; its output has the dtype it had.

    The state and its gradient keep what a narrow dtype rounds away or underflows step after step.
    Every number of a narrower dtype is one of the wider too, so weights keep their values.

    Attributes:
        layer: name of a layer or of a module, which is converted as a whole; "": every module.
        dtype: "float32" or "float64".
    """

    dtype: str = "float32"
    name: ClassVar[str] = "state-dtype"
    keeps_weights: ClassVar[bool] = True
    in_model: ClassVar[bool] = True

    def sentence(self) -> str:
        """What it does, in plain words."""
        return (
            f"Run {self.layer or 'every recurrent module'} in {self.dtype}, so that its state and "
            "gradient do not round or underflow away from step to step. The weights keep their "
            "values; an optimizer built before has to be built anew."
        )

    def code(self) -> str:
        """The lines to paste where the model is built and where the module is called."""
        named, module = in_a_loop(self.layer)
        return (
            f"{named}{module}.to(torch.{self.dtype})  # before the optimizer is built\n"
            "with torch.autocast(x.device.type, enabled=False):  # in forward\n"
            f"    output, state = {module}(x.to(torch.{self.dtype}))\n"
            "output = output.to(x.dtype)"
        )

    def apply(self, model: nn.Module) -> Undo:
        """Convert the module, and its input and output at each call.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        if self.dtype not in DTYPES:
            raise CarouselError(
                f"There is no such dtype for a state: {self.dtype!r}. Expected one of: "
                f"{', '.join(DTYPES)}."
            )
        dtype = DTYPES[self.dtype]
        applied = Undo(self)
        try:
            for place in places_of(model, self.layer, lambda place: _unfit(place, dtype)):
                called_through(place.module, InDtype(dtype), applied)
                applied.keep_tensors(place.module.parameters())
                place.module.to(dtype)
            return applied
        except BaseException:
            applied.undo()
            raise


def _unfit(place: Place, dtype: torch.dtype) -> str:
    wider = [
        name
        for name, parameter in place.module.named_parameters()
        if torch.finfo(parameter.dtype).bits > torch.finfo(dtype).bits
    ]
    if not wider:
        return ""
    return f"{wider[0]} is in a wider dtype than {str(dtype).removeprefix('torch.')} already"


class InDtype(Way):
    """Computes in a dtype of its own, and gives what it gave before."""

    def __call__(
        self,
        module: nn.Module,  # noqa: ARG002 - a way is given it
        call: Callable[..., Any],
        input: Any,  # noqa: A002 - torch's name
        hx: Any = None,
    ) -> Any:
        """Call the module in this dtype."""
        (dtype,) = self.options
        self.acted()
        data = input.data if isinstance(input, PackedSequence) else input
        before = data.dtype
        states = states_of(hx)
        if states is not None:
            hx = with_states(hx, tuple(state.to(dtype) for state in states))
        with torch.autocast(data.device.type, enabled=False):
            given = call(_cast(input, dtype), hx)
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], PackedSequence):
            return _cast(given[0], before), _cast_states(given[1], before)
        return _cast_states(given, before)


def _cast(input: Any, dtype: torch.dtype) -> Any:  # noqa: A002 - torch's name
    if isinstance(input, PackedSequence):
        return input._replace(data=input.data.to(dtype))
    return input.to(dtype)


def _cast_states(given: Any, dtype: torch.dtype) -> Any:
    if isinstance(given, tuple):
        return tuple(_cast_states(part, dtype) for part in given)
    return given.to(dtype)
