"""What the remedies that initialise a layer share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from carousel.diagnosis.remedies._places import Place, expression, path_and_suffix, places_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo

__all__ = ["OVERWRITES", "Initialisation"]

OVERWRITES = "For a model that has not been trained: it overwrites"


@dataclass(frozen=True)
class Initialisation(Remedy):
    """A remedy that sets parameters with one of the functions of ``carousel.init``."""

    keeps_weights: ClassVar[bool] = False
    in_model: ClassVar[bool] = True
    modules: ClassVar[str]  # what it fits, as Python for isinstance

    def apply(self, model: nn.Module) -> Undo:
        """Set the parameters in place.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        places = places_of(model, self.layer, self._unfit)
        applied = Undo()
        try:
            for place in places:
                applied.keep_tensors(place.parameters())
                self._set(place)
        except BaseException:  # an interrupt too must leave the model as it was
            applied.undo()
            raise
        return applied

    def code(self) -> str:
        """The lines to paste after the model is built."""
        path, suffix = path_and_suffix(self.layer)
        if self.layer:
            only = f', layer="{suffix}"' if suffix else ""
            return f"import carousel\n\n{self._call(expression(path), only)}"
        return (
            "import carousel\nimport torch\n\nfor module in model.modules():\n"
            f"    if isinstance(module, ({self.modules})):\n"
            f"        {self._call('module', '')}"
        )

    @property
    def where(self) -> str:
        """The layer in words, for sentences."""
        return self.layer or "every layer that it fits"

    @abstractmethod
    def _unfit(self, module: nn.Module) -> str:
        """Why a module cannot have it; "" where it can."""

    @abstractmethod
    def _set(self, place: Place) -> None:
        """Write the parameters."""

    @abstractmethod
    def _call(self, module: str, only: str) -> str:
        """The call that does the same, as Python."""
