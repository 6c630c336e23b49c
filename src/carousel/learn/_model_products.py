"""Products of Jacobians of a person's own model, computed where somebody asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow import LayerFlow
from carousel.learn._model import LayerKey, ModelView, served
from carousel.learn._model_layer import ModelBand, band, some_of
from carousel.learn._request import Range
from carousel.report import Level

__all__ = ["ModelProducts", "ModelProductsRequest", "model_products"]

# steps x (size of the state)^3, of one sequence: seconds on one core
SPECTRAL = 5e9  # up to here the largest singular value of every product is found
MOST = 5e10  # and up to here the Frobenius norm
VALUES = 2e9  # of the decomposition, which takes more for each step
MOST_KNOWN = 64  # answers that are kept, to be given again


@dataclass(frozen=True)
class ModelProductsRequest:
    """One layer, some of its sequences, and how many steps back its singular values are of."""

    layer: LayerKey
    sequences: Annotated[int, Range(1, 32)] = 4
    lag: Annotated[int, Range(1, 10000)] = 10


@dataclass(frozen=True)
class ModelProducts:
    """The derivative of the last state by the earlier ones, in log10."""

    sequences: tuple[int, ...]  # that were looked at, the longest ones
    norm: str  # "spectral", or "frobenius" where that would take too long
    norms: ModelBand  # ||ds_T/ds_t|| by lag, from 0 on
    carousel: ModelBand | None  # of the carousel alone; None for an RNN
    smallest_log10: float
    lag: int  # of the singular values; 0 where there is no step before the last one
    values: tuple[Level, ...]  # singular values, medians over the sequences; empty: too many
    sentence: str


def model_products(
    request: ModelProductsRequest, proceed: Callable[[], None], view: ModelView | None
) -> ModelProducts:
    """The norms by lag, and the singular values over one.

    Raises:
        CarouselError: no model is served, it has no such layer, or the state is too large for a
            page to wait.
    """
    view = served(view)
    layer = view.layer(request.layer)
    found = view.known.get(request)
    if not isinstance(found, ModelProducts):
        found = computed(request, layer, proceed)
        while len(view.known) >= MOST_KNOWN:  # the oldest gives way
            del view.known[next(iter(view.known))]
        view.known[request] = found
    return found


def computed(
    request: ModelProductsRequest, layer: LayerFlow, proceed: Callable[[], None]
) -> ModelProducts:
    """Sequence by sequence, so that somebody who left is not computed for."""
    size = layer.h.shape[-1] + (0 if layer.c is None else layer.c.shape[-1])
    cost = layer.steps * float(size) ** 3
    if cost > MOST:
        raise CarouselError(
            f"The products of {layer.steps} Jacobians of {size} \N{MULTIPLICATION SIGN} {size} "
            "take too long for a page to wait. "
            f'flow["{layer.name}"].jacobian_norms("frobenius") computes them, and '
            f'flow["{layer.name}"].horizon() tells their rate.'
        )
    norm = "spectral" if cost <= SPECTRAL else "frobenius"
    most = max(1, int((SPECTRAL if norm == "spectral" else MOST) / cost))
    order = torch.argsort(layer.lengths.cpu(), descending=True, stable=True)
    chosen = sorted(order[: min(request.sequences, most)].tolist())
    full, alone, values = [], [], []
    lag = min(request.lag, int(layer.lengths.max()) - 1)
    has_carousel = layer.trace.cell.derived and not layer.kind.startswith("RNN")
    for sequence in chosen:
        proceed()
        one = some_of(layer, [sequence])
        if has_carousel:
            share = one.carousel_share(norm)
            full.append(share.log10_full)
            alone.append(share.log10_carousel)
        else:
            full.append(one.jacobian_norms(norm).log10)
        if lag >= 1 and lag * float(size) ** 3 <= VALUES:
            proceed()
            values.append(singular_values(one, lag))
    norms = stacked("ds_T/ds_t", full)
    return ModelProducts(
        sequences=tuple(chosen),
        norm=norm,
        norms=norms,
        carousel=stacked("carousel", alone) if alone else None,
        smallest_log10=math.log10(torch.finfo(layer.dtype).tiny),
        lag=max(lag, 0),
        values=() if not values else stacked("values", values).median,
        sentence=said(layer, norms, norm, len(chosen)),
    )


def singular_values(layer: LayerFlow, lag: int) -> Tensor:
    """log10 [S, 1] over the last ``lag`` steps of the only sequence."""
    last = int(layer.lengths[0]) - 1
    lag = min(lag, last)
    if lag < 1:
        return torch.full((0, 1), torch.nan)
    start = 0 if layer.direction == "reverse" else last - lag
    return layer.jacobian_product(start, start + lag).log10_singular_values.T.cpu()


def stacked(name: str, columns: list[Tensor]) -> ModelBand:
    """[L, 1] of each sequence, some of them shorter, as quantiles over the sequences."""
    longest = max(len(column) for column in columns)
    log10 = torch.full((longest, len(columns)), torch.nan, dtype=torch.float64)
    there = torch.zeros(longest, len(columns), dtype=torch.bool)
    for at, column in enumerate(columns):
        log10[: len(column), at] = column[:, 0].cpu().double()
        there[: len(column), at] = True
    return band(name, log10, there)


def said(layer: LayerFlow, norms: ModelBand, norm: str, count: int) -> str:
    """What was computed, in a sentence."""
    which = "largest singular value" if norm == "spectral" else "Frobenius norm"
    of = (
        "the only sequence"
        if layer.batch == 1
        else f"{count} of {layer.batch} sequences (median, and 10 to 90 %)"
    )
    known = [lag for lag, value in enumerate(norms.median) if isinstance(value, float)]
    reach = f", known up to lag {known[-1]}" if known else ""
    return f"The {which} of ds_T/ds_t by lag, of {of}{reach}."
