"""A norm by sequence and step, all of it: what the heat map of a person's own model shows.

A million cells as JSON take longer to write and to read than to compute and to draw, so levels
travel as the base64 of 32-bit floats, and categories as that of bytes (benchmarks/heat_map.py).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel._quantile import quantile
from carousel.flow import Category, LayerFlow
from carousel.learn._model import LayerKey, ModelView, served
from carousel.report import cell_categories, cells, norm

__all__ = ["ModelMap", "ModelMapRequest", "model_map"]

MOST_CELLS = 2_000_000  # 10 MB on the way; beyond it, neighbouring steps are joined here
UNUSUAL = {
    Category.ZERO: "exactly zero",
    Category.UNDERFLOW: "underflowing",
    Category.INFINITE: "infinite",
    Category.NAN: "NaN",
    Category.PADDING: "padding (not recorded)",
}


@dataclass(frozen=True)
class ModelMapRequest:
    """One quantity of one layer."""

    layer: LayerKey
    quantity: Literal["d_h", "d_h_injected", "d_c"] = "d_h"


@dataclass(frozen=True)
class ModelMap:
    """Rows are sequences, columns are steps."""

    quantity: str
    rows: int
    columns: int
    stride: int  # steps to a column: 1 unless there are too many
    steps: int
    levels: str  # log10 of the norms, base64 of little-endian float32, row by row
    categories: str  # carousel.flow.Category, base64 of bytes
    sentence: str


def model_map(
    request: ModelMapRequest, proceed: Callable[[], None], view: ModelView | None
) -> ModelMap:
    """The whole map.

    Raises:
        CarouselError: no model is served, or it has no such layer or quantity.
    """
    del proceed
    view = served(view)
    layer = view.layer(request.layer)
    if request.quantity == "d_c" and layer.d_c is None:
        raise CarouselError(f"{layer.name} ({layer.kind}) has no cell state, so no d_c.")
    levels, categories, stride = joined(layer, request.quantity)
    return ModelMap(
        quantity=request.quantity,
        rows=levels.shape[0],
        columns=levels.shape[1],
        stride=stride,
        steps=layer.steps,
        levels=packed(levels.float()),
        categories=packed(categories.to(torch.uint8)),
        sentence=sentence(layer, request.quantity, levels, categories, stride),
    )


def joined(layer: LayerFlow, quantity: str) -> tuple[Tensor, Tensor, int]:
    """log10 of the norms and their categories [B, columns], and how many steps a column is."""
    log10 = layer.log10_norm(quantity).double().cpu()
    category = layer.category(quantity).cpu()
    stride = math.ceil(layer.steps / max(1, MOST_CELLS // layer.batch))
    if stride == 1:
        return log10.T, category.T, 1
    by_cell = cells(category, stride, 1, outside=-1)
    numbers = (by_cell == Category.VALUE) | (by_cell == Category.UNDERFLOW)
    return quantile(cells(log10, stride, 1), numbers, 0.5), cell_categories(by_cell), stride


def packed(values: Tensor) -> str:
    """The bytes, row by row, as text."""
    array = values.contiguous().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def sentence(
    layer: LayerFlow, quantity: str, levels: Tensor, categories: Tensor, stride: int
) -> str:
    """What the map shows, in words."""
    numbers = levels[(categories == Category.VALUE) | (categories == Category.UNDERFLOW)]
    what = {"d_h": "total dL/dh", "d_h_injected": "injected dL/dh", "d_c": "total dL/dc"}[quantity]
    parts = []
    if numbers.numel():
        low, high = norm(float(numbers.min())), norm(float(numbers.max()))
        parts.append(
            f"The norm of the {what} lies between {low} and {high} "
            if low != high
            else f"The norm of the {what} is {low} "
        )
    else:
        parts.append(f"The norm of the {what} is no plain number anywhere ")
    rows = f"{layer.batch} sequence{'s' * (layer.batch > 1)}"
    columns = f"{layer.steps} step{'s' * (layer.steps > 1)}"
    parts.append(f"({rows} \N{MULTIPLICATION SIGN} {columns})")
    total = categories.numel()
    counted = [
        f"{count} of {total} cells are {word}"
        for code, word in UNUSUAL.items()
        if (count := int((categories == int(code)).sum()))
    ]
    if counted:
        parts.append("; " + ", ".join(counted))
    joined_steps = f" {stride} steps are joined to a cell." if stride > 1 else ""
    return "".join(parts) + "." + joined_steps
