"""A Flow: the exact quantities over time of every recurrent layer in one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING

from carousel._errors import CarouselError
from carousel.flow._horizon import Horizon
from carousel.flow._layer_flow import LayerFlow
from carousel.flow._misses import no_such_of_flow
from carousel.flow._nonfinite import NonFinite, first_nonfinite
from carousel.flow._notebook import table
from carousel.flow._slowest import slowest
from carousel.flow._tables import frame, parquet, tree

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Flow"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The layers that one backward pass went through, by name: ``flow["encoder.lstm.l0"]``."""

    layers: Mapping[str, LayerFlow]
    remarks: tuple[str, ...] = ()  # what concerns no single layer

    def __getitem__(self, name: str) -> LayerFlow:
        try:
            return self.layers[name]
        except KeyError:
            raise CarouselError(
                f"There is no layer {name!r} in this flow. "
                f"Its layers are: {', '.join(self.layers)}."
            ) from None

    if not TYPE_CHECKING:  # where it would make every name a known one

        def __getattr__(self, name: str) -> object:
            if name.startswith("_") or hasattr(type(self), name) or "layers" not in vars(self):
                return object.__getattribute__(self, name)
            of_layer = (known for known in dir(LayerFlow) if not known.startswith("_"))
            raise AttributeError(no_such_of_flow(self.layers, of_layer, name), name=name, obj=self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def nonfinite(self) -> tuple[NonFinite, ...]:
        """Where NaN or infinity first arises in each layer: forward findings before backward ones.

        The first entry is the first in the order of computation.
        """
        layers = self.layers.values()
        found = [finding for layer in layers for finding in first_nonfinite(layer.trace)]
        forward = [finding for finding in found if finding.phase == "forward"]
        backward = [finding for finding in found if finding.phase == "backward"]
        return (*forward, *reversed(backward))

    @property
    def slowest(self) -> LayerFlow:
        """The layer whose gradient decays least by lag, or grows most."""
        return self.layers[slowest({name: self.layers[name].horizon() for name in self.layers})]

    def horizon(self) -> Horizon:
        """The horizon of the slowest layer.

        In the long run it is that of a whole stack's state, whose Jacobians are block triangular.
        Of bidirectional or unrelated layers it is the slowest one's, and no more than that.
        """
        return self.slowest.horizon()

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks, and the notes of all layers, each under its layer's name."""
        layers = self.layers.items()
        notes = tuple(f"{name}: {note}" for name, layer in layers for note in layer.notes)
        return self.remarks + notes

    def to_frame(self, quantities: Sequence[str] | None = None) -> pd.DataFrame:
        """The tables of all layers, one below the other; see ``LayerFlow.to_frame``.

        Quantities of c are left out where a layer has none.
        """
        return frame(self.layers, quantities)

    def to_xarray(
        self, quantities: Sequence[str] | None = None, *, units: bool = False
    ) -> xr.DataTree:
        """A tree with the dataset of each layer under its name; see ``LayerFlow.to_xarray``."""
        return tree(self.layers, quantities, self.remarks, units=units)

    def to_parquet(
        self, path: str | PathLike[str], quantities: Sequence[str] | None = None
    ) -> None:
        """Write the tables of all layers to one Parquet file; see ``LayerFlow.to_parquet``."""
        parquet(self.layers, path, quantities, self.remarks)

    def _repr_html_(self) -> str:
        return table(self.layers, self.notes)

    def __repr__(self) -> str:
        return f"Flow({', '.join(map(repr, self.layers.values()))})"
