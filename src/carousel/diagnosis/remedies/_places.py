"""Where in a model a remedy acts: from the name of a layer to its module."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.trace import find_recurrent, spec_of

__all__ = [
    "BARE_CELL",
    "THE_MODEL",
    "CellPath",
    "Place",
    "computed",
    "expression",
    "frozen",
    "in_a_loop",
    "layers_of",
    "parameter_names",
    "path_and_suffix",
    "places_of",
    "without_number",
]

BARE_CELL = "cell"  # what a flow calls a cell that is the whole model, as one at `model.cell`
# What a remedy calls it, so that its code can tell both apart; a path has no blank.
THE_MODEL = "the model"

SHORT = 32  # columns of an expression that stands within a line
SUFFIX = re.compile(r"l\d+(_reverse)?")
CALL_NUMBER = re.compile(r"#\d+$")  # of one of several unrelated calls of a module


class CellPath(str):
    """The path of a cell that is named like a layer of a stack: one at ``model.decoder.l0``.

    It is the same name, and code that is written without the model knows what it means by it.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Place:
    """A recurrent module, and which of its layers are meant."""

    path: str  # "encoder.lstm", "" for the model itself
    module: nn.Module
    suffix: str | None  # "l0_reverse"; None: every layer and direction

    @property
    def name(self) -> str:
        """The place in words."""
        parts = [part for part in (self.path, self.suffix) if part]
        return ".".join(parts) or THE_MODEL

    def parameters(self) -> list[Tensor]:
        """Those of the layers that are meant. A cell's have no suffix: all of them are."""
        ending = "" if self.suffix is None or spec_of(self.module).is_cell else f"_{self.suffix}"
        # One that layers share goes by several names, and must be found by each.
        every = self.module.named_parameters(recurse=False, remove_duplicate=False)
        return [parameter for name, parameter in every if name.endswith(ending)]


def places_of(model: nn.Module, layer: str, unfit: Callable[[Place], str]) -> list[Place]:
    """Where a remedy for ``layer`` acts.

    Args:
        model: that holds the layer.
        layer: "encoder.lstm.l0" for one layer in one direction, "encoder.lstm" for all layers of a
            module, "the model" for a cell that is the model itself, "" for every recurrent module
            that the remedy fits.
        unfit: why a place cannot have the remedy, "" where it can.

    Raises:
        CarouselError: there is no such layer, or the remedy does not fit it.
    """
    found, _ = find_recurrent(model)
    if layer == "":
        every = [Place(path, module, None) for module, path in found.items()]
        reasons = {place.name: unfit(place) for place in every}
        fitting = [place for place in every if not reasons[place.name]]
        if not fitting:
            said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise CarouselError(
                f"The remedy fits no recurrent module of {type(model).__name__}: {said}."
            )
        return fitting
    place = _place(found, without_number(layer))
    if place is None:
        raise CarouselError(
            f"There is no layer {layer!r} in {type(model).__name__}. Its layers are: "
            f"{', '.join(_names(found))}."
        )
    reason = unfit(place)
    if reason:
        raise CarouselError(f"The remedy does not fit {layer}: {reason}.")
    return [place]


def _place(found: dict[nn.Module, str], layer: str) -> Place | None:
    """What a name stands for in this model: a module's path comes before a layer's suffix."""
    for module, path in found.items():
        bare = not path and spec_of(module).is_cell
        if layer == path or (bare and layer in (BARE_CELL, THE_MODEL)):
            return Place(path, module, None)
    path_of_layer, suffix = path_and_suffix(str(layer))
    for module, path in found.items():
        if path == path_of_layer and not spec_of(module).is_cell and suffix in _suffixes(module):
            return Place(path, module, suffix)
    return None


def parameter_names(place: Place, kinds: tuple[str, ...]) -> list[str]:
    """Names of the place's parameters of these kinds: weight_hh_l0, weight_hh_l1_reverse, .."""
    if spec_of(place.module).is_cell:
        return list(kinds)
    suffixes = _suffixes(place.module) if place.suffix is None else [place.suffix]
    return [f"{kind}_{suffix}" for suffix in suffixes for kind in kinds]


def computed(place: Place, *kinds: str) -> str:
    """Why parameters of these kinds cannot be written to: something else computes them. Or ""."""
    there = dict(place.module.named_parameters(recurse=False, remove_duplicate=False))
    for name in parameter_names(place, kinds):
        if name not in there and getattr(place.module, name, None) is not None:
            return (
                f"its {name} is computed from other tensors (a parametrization or weight_norm), "
                "and is no parameter: remove that first"
            )
    return ""


def frozen(place: Place, *kinds: str) -> list[str]:
    """Names of the place's parameters of these kinds that take no gradient."""
    there = dict(place.module.named_parameters(recurse=False, remove_duplicate=False))
    names = [name for name in parameter_names(place, kinds) if name in there]
    return [name for name in names if not there[name].requires_grad]


def layers_of(place: Place) -> list[str]:
    """Names of the place's layers in a flow; a cell's is its path."""
    if spec_of(place.module).is_cell:
        return [place.path or BARE_CELL]
    suffixes = _suffixes(place.module) if place.suffix is None else [place.suffix]
    return [f"{place.path}.{suffix}" if place.path else suffix for suffix in suffixes]


def _suffixes(module: nn.Module) -> list[str]:
    spec = spec_of(module)
    return [spec.suffix(k, way) for k in range(spec.layers) for way in range(spec.directions)]


def _names(found: dict[nn.Module, str]) -> list[str]:
    return [name for module, path in found.items() for name in layers_of(Place(path, module, None))]


def path_and_suffix(layer: str) -> tuple[str, str | None]:
    """("encoder.lstm", "l0") for "encoder.lstm.l0"; no suffix where the name ends in none.

    This goes by the name's look alone, but for the path of a cell: ``places_of`` knows the model.
    """
    layer = without_number(layer)
    if isinstance(layer, CellPath):
        return layer, None
    path, _, last = layer.rpartition(".")
    return (path, last) if SUFFIX.fullmatch(last) else (layer, None)


def without_number(layer: str) -> str:
    """A layer's name without the number of the call: "lstm.l0" for "lstm.l0#2"."""
    return type(layer)(CALL_NUMBER.sub("", layer))


def in_a_loop(layer: str) -> tuple[str, str]:
    """A line that names a layer's module where its expression is long, and the module in Python."""
    module = expression(path_and_suffix(layer)[0]) if layer else "model.rnn"
    return ("", module) if len(module) <= SHORT else (f"rnn = {module}\n", "rnn")


def expression(path: str) -> str:
    """The Python that leads from ``model`` to a module."""
    if path in ("", THE_MODEL):
        return "model"
    if all(part.isidentifier() for part in path.split(".")):
        return f"model.{path}"
    return f'model.get_submodule("{path}")'
