"""What the remedies that initialise a layer share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from carousel.diagnosis.remedies._places import (
    Place,
    computed,
    expression,
    frozen,
    path_and_suffix,
    places_of,
)
from carousel.diagnosis.remedies._remedy import Remedy, call_of, pasted
from carousel.diagnosis.remedies._undo import Undo

__all__ = ["OVERWRITES", "Initialisation"]

OVERWRITES = "For a model that has not been trained: it overwrites"


@dataclass(frozen=True)
class Initialisation(Remedy):
    """A remedy that sets parameters with one of the functions of ``carousel.init``."""

    keeps_weights: ClassVar[bool] = False
    in_model: ClassVar[bool] = True
    writes: ClassVar[tuple[str, ...]]  # the kinds of parameters, without the suffix

    def apply(self, model: nn.Module) -> Undo:
        """Set the parameters in place.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        applied = Undo(self)
        try:
            for index, place in enumerate(places_of(model, self.layer, self._refusal)):
                applied.keep_tensors(place.parameters())
                self._set(place, index)
            return applied
        except BaseException:  # an interrupt too must leave the model as it was
            applied.undo()
            raise

    def code(self) -> str:
        """The lines to paste after the model is built."""
        if not self.layer:  # which modules it fits, the remedy finds out
            return pasted(self)
        path, suffix = path_and_suffix(self.layer)
        arguments = [expression(path), *self._arguments()]
        if suffix:
            arguments.append(f'layer="{suffix}"')
        lines = call_of(f"carousel.init.{self._function()}", arguments)
        imports = "import carousel\nimport torch" if "torch." in lines else "import carousel"
        return f"{imports}\n\n{lines}"

    @property
    def where(self) -> str:
        """The layer in words, for sentences."""
        return self.layer or "every layer that it fits"

    def _refusal(self, place: Place) -> str:
        reason = self._unfit(place.module) or computed(place, *self.writes)
        if reason:
            return reason
        held = frozen(place, *self.writes)
        if not held:
            return ""
        return f"its {held[0]} is frozen (requires_grad=False), and would be overwritten"

    @abstractmethod
    def _unfit(self, module: nn.Module) -> str:
        """Why a module cannot have it; "" where it can."""

    @abstractmethod
    def _set(self, place: Place, index: int) -> None:
        """Write the parameters of a place, the ``index``-th of those that it is applied to."""

    @abstractmethod
    def _function(self) -> str:
        """The function of ``carousel.init`` that does the same."""

    @abstractmethod
    def _arguments(self) -> list[str]:
        """What the function takes beside the module, as Python."""
