"""The state of one call as the beginning of the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from carousel.diagnosis.remedies._calling import (
    DETACHED,
    Way,
    all_called_through,
    states_of,
    unbroken,
    with_states,
)
from carousel.diagnosis.remedies._places import Place, in_a_loop
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo

__all__ = ["CarryState"]


@dataclass(frozen=True)
class CarryState(Remedy):
    """Begin each call, to which no state is given, with the state that the one before left.

    For training on consecutive chunks of long sequences, where the state was reset at each: the
    memory goes on over the chunks, the gradient does not (truncated BPTT). It is wrong where a
    batch does not continue the one before. Where a call has another number of sequences, or the
    module changes between training and evaluation, it begins at zero.

    Source: Williams & Peng 1990; Mikolov et al. 2010 for language models.

    Attributes:
        layer: name of a layer or of a module, whose whole stack carries on; "": every module.
    """

    name: ClassVar[str] = "carry-state"
    keeps_weights: ClassVar[bool] = True
    in_model: ClassVar[bool] = False

    def sentence(self) -> str:
        """What it does, in plain words."""
        return (
            f"Hand the state that {self.layer or 'every recurrent module'} leaves to its next "
            "call, detached: right only where each batch continues the one before, sequence by "
            "sequence. The weights stay as they are."
        )

    def code(self) -> str:
        """The lines to paste into the training loop."""
        named, call = in_a_loop(self.layer)
        return (
            f"{named}state = None  # before the loop, and wherever the sequences begin anew\n"
            "for x in chunks:\n"
            f"    output, state = {call}(x, state)\n"
            "    ...  # loss, backward, step\n" + DETACHED
        )

    def apply(self, model: nn.Module) -> Undo:
        """Let the module remember its last state from now on.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        return all_called_through(model, self, _unfit, Carrying)


def _unfit(place: Place) -> str:
    return unbroken(
        place,
        cell="takes its state from the loop that calls it",
        bidirectional="the reverse direction of a bidirectional layer has no state to carry on",
    )


class Carrying(Way):
    """Remembers the state that a call left, and hands it to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Any = None
        self.left_by: tuple[bool, int | None] | None = None  # the mode and the batch of that call

    def __call__(
        self,
        module: nn.Module,
        call: Callable[..., Any],
        input: Any,  # noqa: A002 - torch's name
        hx: Any = None,
    ) -> Any:
        """Call the module with the state, unless one is given."""
        here = (module.training, _batch(module, input))
        if hx is None and self.left_by == here:
            hx = self.state
            self.acted()
        output, state = call(input, hx)
        states = states_of(state)
        assert states is not None
        self.state = with_states(state, tuple(each.detach() for each in states))
        self.left_by = here
        return output, state


def _batch(module: nn.Module, input: Any) -> int | None:  # noqa: A002 - torch's name
    """How many sequences a call has; None where it has no batch axis."""
    if isinstance(input, Tensor):
        if input.dim() == 2:
            return None
        return input.shape[0 if module.batch_first else 1]
    return int(input.batch_sizes[0])
