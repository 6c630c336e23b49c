"""The state of one call as the beginning of the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from carousel.diagnosis.remedies._calling import (
    all_called_through,
    states_of,
    unbroken,
    with_states,
)
from carousel.diagnosis.remedies._places import expression, path_and_suffix
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
        call = expression(path_and_suffix(self.layer)[0]) if self.layer else "model.rnn"
        return (
            "state = None  # before the loop, and wherever the sequences begin anew\n"
            "for x in chunks:\n"
            f"    output, state = {call}(x, state)\n"
            "    ...  # loss, backward, step\n"
            "    state = tuple(s.detach() for s in state) if isinstance(state, tuple) "
            "else state.detach()"
        )

    def apply(self, model: nn.Module) -> Undo:
        """Let the module remember its last state from now on.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        return all_called_through(model, self.layer, _unfit, _carrying)


def _unfit(module: nn.Module) -> str:
    return unbroken(
        module,
        cell="takes its state from the loop that calls it",
        bidirectional="the reverse direction of a bidirectional layer has no state to carry on",
    )


def _carrying(module: nn.Module) -> Callable[..., Any]:
    left: dict[str, Any] = {}

    def around(call: Callable[..., Any], input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's
        here = (module.training, _batch(module, input))
        if hx is None and left.get("here") == here:
            hx = left["state"]
        output, state = call(input, hx)
        states = states_of(state)
        assert states is not None
        left["state"] = with_states(state, tuple(each.detach() for each in states))
        left["here"] = here
        return output, state

    return around


def _batch(module: nn.Module, input: Any) -> int | None:  # noqa: A002 - torch's name
    """How many sequences a call has; None where it has no batch axis."""
    if isinstance(input, Tensor):
        if input.dim() == 2:
            return None
        return input.shape[0 if module.batch_first else 1]
    return int(input.batch_sizes[0])
