"""Truncated backpropagation through time at a length whose bias is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._calling import (
    DETACHED,
    Way,
    all_called_through,
    refuse_packed,
    states_of,
    unbroken,
    with_states,
)
from carousel.diagnosis.remedies._places import Place, in_a_loop
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo
from carousel.flow import Flow

__all__ = ["TruncationLength"]


@dataclass(frozen=True)
class TruncationLength(Remedy):
    """Detach the state every ``steps`` steps of the module's input.

    Where the gradient explodes over long lags, or a sequence is too long for memory, this cuts what
    is far; ``for_bias`` chooses the shortest length that keeps the gradient's relative bias low.

    Source: Aicher, Foti & Fox 2019 for the bias.

    Attributes:
        layer: name of a layer or of a module, whose whole stack is cut; "": every module.
        steps: the length of a chunk, at least 1.
        bias: the relative bias that was measured for this length; NaN where it was not.
    """

    steps: int
    bias: float = math.nan
    name: ClassVar[str] = "truncation-length"
    keeps_weights: ClassVar[bool] = True
    in_model: ClassVar[bool] = False

    @classmethod
    def for_bias(cls, flow: Flow, layer: str, bias: float = 0.1) -> TruncationLength:
        """The shortest length of chunks with which the layer's gradient is off by at most ``bias``.

        Raises:
            CarouselError: there is no such layer, or its gradient is zero or not finite.
        """
        return cls(layer, flow[layer].truncation_length(bias, how="chunks"), bias)

    def sentence(self) -> str:
        """What it does, in plain words."""
        known = (
            "" if math.isnan(self.bias) else f", whose relative bias was {self.bias:.0%} at most"
        )
        return (
            f"Truncate backpropagation through {self.layer or 'every recurrent module'} at "
            f"{self.steps} steps{known}: the state goes on, its gradient does not. The weights "
            "stay as they are."
        )

    def code(self) -> str:
        """The lines to paste where the module is called."""
        named, call = in_a_loop(self.layer)
        return (
            f"{named}outputs, state = [], None\n"
            f"for chunk in x.split({self.steps}, dim=0):  # dim=1 with batch_first\n"
            f"    output, state = {call}(chunk, state)\n"
            f"    outputs.append(output)\n{DETACHED}\n"
            "output = torch.cat(outputs, dim=0)"
        )

    def apply(self, model: nn.Module) -> Undo:
        """Let the module run in chunks from now on.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        if type(self.steps) is not int or self.steps < 1:
            raise CarouselError(
                f"Expected steps to be a whole number from 1 on, got {self.steps!r}."
            )
        return all_called_through(model, self, _unfit, lambda: Chunked(self.steps))


def _unfit(place: Place) -> str:
    return unbroken(
        place,
        cell="is called step by step; detach its state in the loop",
        bidirectional="a bidirectional layer needs the whole sequence at once",
    )


class Chunked(Way):
    """Runs ``steps`` steps at a time, and detaches the state in between."""

    def __call__(
        self,
        module: nn.Module,
        call: Callable[..., Any],
        input: Any,  # noqa: A002 - torch's name
        hx: Any = None,
    ) -> Any:
        """Call the module once for each chunk."""
        refuse_packed(input, "TruncationLength")
        (steps,) = self.options
        batched_time = 1 if module.batch_first else 0
        time = 0 if input.dim() == 2 else batched_time
        outputs: list[Tensor] = []
        state = hx
        for chunk in input.split(steps, dim=time):
            if outputs:
                states = states_of(state)
                assert states is not None
                state = with_states(state, tuple(each.detach() for each in states))
            output, state = call(chunk, state)
            outputs.append(output)
        if len(outputs) > 1:
            self.acted()
        return torch.cat(outputs, dim=time), state
