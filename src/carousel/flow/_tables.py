"""Flows as tables: a long pandas frame, an xarray dataset, a Parquet file.

Each norm comes with its category, so that a zero, an underflow, an infinity, a NaN and a step that
is not there stay five different things in every file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carousel._errors import CarouselError
from carousel._optional import optional
from carousel.flow._quantities import Category

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["dataset", "frame", "parquet", "tree"]

Layers = Mapping[str, "LayerFlow"]
QUANTITIES = ("d_h", "d_h_injected", "d_c", "d_c_injected", "h", "c")
OF_C = ("d_c", "d_c_injected", "c")  # not there in a layer without c
EXTRA = "tables"
CATEGORIES = tuple(kind.name.lower() for kind in Category)  # by their codes
WORDS = ("layer", "direction", "quantity", "category")  # columns that repeat a few words


@dataclass(frozen=True, eq=False)
class _Long:
    """A table with one row for each norm: codes where a column repeats a few words."""

    codes: dict[str, NDArray[Any]]  # by column: which of the words [N]
    words: dict[str, list[str]]
    t: NDArray[np.int32]  # [N]
    sequence: NDArray[np.int32]  # [N]
    log10_norm: NDArray[np.float64]  # [N]; NaN at padding


def frame(layers: Layers, quantities: Sequence[str] | None) -> pd.DataFrame:
    """See ``LayerFlow.to_frame``."""
    pandas = optional("pandas", EXTRA, "A data frame")
    long = _long(layers, quantities)
    category = {
        name: pandas.Categorical.from_codes(long.codes[name], long.words[name]) for name in WORDS
    }
    columns = {
        "layer": category["layer"],
        "direction": category["direction"],
        "t": long.t,
        "sequence": long.sequence,
        "quantity": category["quantity"],
        "log10_norm": long.log10_norm,
        "category": category["category"],
    }
    return pandas.DataFrame(columns)


def parquet(
    layers: Layers,
    path: str | PathLike[str],
    quantities: Sequence[str] | None,
    remarks: tuple[str, ...] = (),
) -> None:
    """See ``LayerFlow.to_parquet``."""
    pyarrow = optional("pyarrow", EXTRA, "A Parquet file")
    writer = optional("pyarrow.parquet", EXTRA, "A Parquet file")
    long = _long(layers, quantities)
    words = {
        name: pyarrow.DictionaryArray.from_arrays(pyarrow.array(long.codes[name]), long.words[name])
        for name in WORDS
    }
    padding = long.codes["category"] == Category.PADDING
    table = pyarrow.table(
        {
            "layer": words["layer"],
            "direction": words["direction"],
            "t": long.t,
            "sequence": long.sequence,
            "quantity": words["quantity"],
            # NaN stays NaN, and what is not there is null
            "log10_norm": pyarrow.array(long.log10_norm, mask=padding, from_pandas=False),
            "category": words["category"],
        }
    )
    about = {"layers": {name: _about(layer) for name, layer in layers.items()}, "remarks": remarks}
    table = table.replace_schema_metadata({"carousel": json.dumps(about, allow_nan=False)})
    try:
        writer.write_table(table, path)
    except OSError as error:
        raise CarouselError(
            f"The table cannot be written to {path}: {error}. Choose another path for it."
        ) from error


def dataset(layer: LayerFlow, quantities: Sequence[str] | None, *, units: bool) -> xr.Dataset:
    """See ``LayerFlow.to_xarray``."""
    xarray = optional("xarray", EXTRA, "An xarray dataset")
    names = _names(layer, quantities)
    dims = ("quantity", "t", "sequence")
    found: dict[str, Any] = {
        "log10_norm": (
            dims,
            np.stack([_log10_norm(layer, name) for name in names]),
            {"long_name": "log10 of the Euclidean norm over the units", "padding": "NaN"},
        ),
        "category": (
            dims,
            np.stack([layer.category(name).cpu().numpy() for name in names]),
            {
                "flag_values": [int(kind) for kind in Category],
                "flag_meanings": " ".join(CATEGORIES),
            },
        ),
    }
    if units:
        outputs = "unit" if layer.h.shape[-1] == layer.hidden else "output"
        for name in names:
            tensor = layer.trace.x if name == "x" else getattr(layer, name)
            unit = "input" if name == "x" else outputs if name[:3] in ("h", "d_h") else "unit"
            found[name] = (("t", "sequence", unit), tensor.detach().cpu().numpy())
        for gate, tensor in layer.gates.items():
            found[f"gate_{gate}"] = (("t", "sequence", "unit"), tensor.detach().cpu().numpy())
    result: xr.Dataset = xarray.Dataset(
        found,
        coords={
            "quantity": list(names),
            "t": ("t", np.arange(layer.steps), {"long_name": "step, in the order of the input"}),
            "sequence": np.arange(layer.batch),
            "length": ("sequence", layer.lengths.cpu().numpy(), {"units": "steps"}),
        },
        attrs=_flat(_about(layer)),
    )
    return result


def tree(
    layers: Layers,
    quantities: Sequence[str] | None,
    remarks: tuple[str, ...],
    *,
    units: bool,
) -> xr.DataTree:
    """See ``Flow.to_xarray``."""
    xarray = optional("xarray", EXTRA, "An xarray tree")
    datasets = {
        name: dataset(layer, names, units=units)
        for name, layer, names in _chosen(layers, quantities)
    }
    result: xr.DataTree = xarray.DataTree.from_dict(datasets)
    result.attrs["remarks"] = "\n".join(remarks)
    return result


def _long(layers: Layers, quantities: Sequence[str] | None) -> _Long:
    chosen = _chosen(layers, quantities)
    names = list(dict.fromkeys(name for _, _, names in chosen for name in names))
    directions = ["forward", "reverse"]
    parts: dict[str, list[NDArray[Any]]] = {}
    for number, (_, layer, those) in enumerate(chosen):
        steps, batch = layer.steps, layer.batch
        t, sequence = np.divmod(np.arange(steps * batch), batch)
        for name in those:
            same = np.ones(steps * batch, dtype=np.int32)
            rows = {
                "layer": number * same,
                "direction": directions.index(layer.direction) * same,
                "quantity": names.index(name) * same,
                "category": layer.category(name).cpu().numpy().ravel(),
                "t": t.astype(np.int32),
                "sequence": sequence.astype(np.int32),
                "log10_norm": _log10_norm(layer, name).ravel(),
            }
            for column, values in rows.items():
                parts.setdefault(column, []).append(values)
    whole = {column: np.concatenate(values) for column, values in parts.items()}
    words = {
        "layer": [name for name, _, _ in chosen],
        "direction": directions,
        "quantity": names,
        "category": list(CATEGORIES),
    }
    return _Long(
        codes={column: whole[column] for column in WORDS},
        words=words,
        t=whole["t"],
        sequence=whole["sequence"],
        log10_norm=whole["log10_norm"],
    )


def _names(layer: LayerFlow, quantities: Sequence[str] | None) -> tuple[str, ...]:
    """The quantities of a layer that a table holds.

    Raises:
        CarouselError: none is named, or they are one string.
    """
    if quantities is None:
        return tuple(name for name in QUANTITIES if layer.c is not None or name not in OF_C)
    if isinstance(quantities, str) or not quantities:
        raise CarouselError(
            f'Expected the names of quantities, as in ["d_h", "d_c"], or None for all; '
            f"got {quantities!r}."
        )
    return tuple(quantities)


def _chosen(
    layers: Layers, quantities: Sequence[str] | None
) -> list[tuple[str, LayerFlow, tuple[str, ...]]]:
    """Each layer with its quantities; those of c are left out where a layer has none.

    Raises:
        CarouselError: there is no layer, or no layer has what was asked for.
    """
    chosen = []
    for name, layer in layers.items():
        names = _names(layer, quantities)
        if len(layers) > 1 and layer.c is None:
            names = tuple(name for name in names if name not in OF_C)
        if names:
            chosen.append((name, layer, names))
    if not chosen:
        asked = "none" if quantities is None else ", ".join(quantities)
        raise CarouselError(
            f"There is nothing to put into a table: of {len(layers)} layers none has the "
            f"quantities that were asked for ({asked}). A cell state c exists in LSTMs only."
        )
    return chosen


def _log10_norm(layer: LayerFlow, name: str) -> NDArray[np.float64]:
    """[T, B]; NaN at padding, which a frame has no other word for."""
    log10 = layer.log10_norm(name).masked_fill(~layer.trace.valid, math.nan)
    found: NDArray[np.float64] = log10.cpu().numpy()
    return found


def _about(layer: LayerFlow) -> dict[str, Any]:
    """What a layer's numbers have to be read with, in JSON's types."""
    return {
        "layer": layer.name,
        "cell": layer.kind,
        "direction": layer.direction,
        "gradient": layer.gradient,
        "hidden": layer.hidden,
        "dtype": str(layer.dtype).removeprefix("torch."),
        "certificate": _number(layer.certificate),
        "certificate_limit": _number(layer.certificate_limit),
        "boundaries": list(layer.boundaries),
        "lengths": layer.lengths.tolist(),
        "notes": list(layer.notes),
    }


def _flat(about: dict[str, Any]) -> dict[str, Any]:
    """Attributes that a NetCDF file can hold: no lists of texts, no empty lists."""
    flat = {key: value for key, value in about.items() if key not in ("notes", "lengths")}
    return flat | {
        "boundaries": ", ".join(map(str, about["boundaries"])),
        "notes": "\n".join(about["notes"]),
    }


def _number(value: float) -> float | str:
    """A finite number, or the name of what stands in its place: JSON knows no NaN."""
    return float(value) if math.isfinite(value) else str(float(value))
