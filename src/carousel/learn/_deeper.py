"""What lies behind the curves of the explorer: the products of Jacobians, and their rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from carousel.flow import LayerFlow
from carousel.learn._explore import levels, measured
from carousel.learn._settings import Network, Settings, spoken
from carousel.report import Level, level

__all__ = [
    "HorizonSaid",
    "Horizons",
    "Products",
    "ProductsOf",
    "SingularValues",
    "Spectra",
    "SpectrumOf",
    "horizons",
    "products",
    "spectra",
]

Proceed = Callable[[], None]

MOST_VALUES = 8  # singular values, and Lyapunov exponents, the largest ones


def _go_on() -> None:
    pass


@dataclass(frozen=True)
class HorizonSaid:
    """How far back one step's loss is felt."""

    name: str
    kind: str
    sentence: str
    steps: float | None  # in which it falls to 1/e; None unless it decays


@dataclass(frozen=True)
class Horizons:
    """Of both networks."""

    first: HorizonSaid
    second: HorizonSaid


@dataclass(frozen=True)
class SingularValues:
    """log10 of the largest singular values of ds_T/ds_{T-lag}, the largest first."""

    lag: int
    log10: tuple[Level, ...]


@dataclass(frozen=True)
class ProductsOf:
    """ds_T/ds_t of one network, s = (h, c), by its norms and its singular values."""

    name: str
    log10_by_lag: tuple[Level, ...]  # the Frobenius norm
    singular: tuple[SingularValues, ...]


@dataclass(frozen=True)
class Products:
    """Of both networks."""

    first: ProductsOf
    second: ProductsOf


@dataclass(frozen=True)
class SpectrumOf:
    """The largest Lyapunov exponents of one network."""

    name: str
    sentence: str
    exponents: tuple[Level, ...]  # per step, natural logarithm; "zero": that direction is lost
    standard_errors: tuple[Level, ...]


@dataclass(frozen=True)
class Spectra:
    """Of both networks."""

    first: SpectrumOf
    second: SpectrumOf


def horizons(settings: Settings, proceed: Proceed = _go_on) -> Horizons:
    """Both networks' horizons, as sentences."""
    first = _horizon(settings.first, settings)
    proceed()
    return Horizons(first, _horizon(settings.second, settings))


def products(settings: Settings, proceed: Proceed = _go_on) -> Products:
    """Both networks' products, by lag from the last step."""
    first = _products(settings.first, settings, proceed)
    proceed()
    return Products(first, _products(settings.second, settings, proceed))


def spectra(settings: Settings, proceed: Proceed = _go_on) -> Spectra:
    """Both networks' largest Lyapunov exponents."""
    first = _spectrum(settings.first, settings)
    proceed()
    return Spectra(first, _spectrum(settings.second, settings))


def _horizon(one: Network, settings: Settings) -> HorizonSaid:
    found = measured(one, settings).horizon()
    return HorizonSaid(spoken(one), found.kind, str(found), found.steps)


def _products(one: Network, settings: Settings, proceed: Proceed) -> ProductsOf:
    layer = measured(one, settings)
    norms = levels(layer.jacobian_norms("frobenius").log10)
    last = settings.steps - 1
    singular = []
    for lag in sorted({1, last // 4, last // 2, last} - {0}):
        if lag <= last:
            proceed()
            singular.append(SingularValues(lag, _singular(layer, last, lag)))
    return ProductsOf(spoken(one), norms, tuple(singular))


def _singular(layer: LayerFlow, last: int, lag: int) -> tuple[Level, ...]:
    count = min(MOST_VALUES, _state(layer))
    found = layer.jacobian_product(last - lag, last, count).log10_singular_values
    return tuple(level(value) for value in found[0].tolist())


def _spectrum(one: Network, settings: Settings) -> SpectrumOf:
    layer = measured(one, settings)
    found = layer.spectrum(min(MOST_VALUES, _state(layer)))
    return SpectrumOf(
        spoken(one),
        str(found),
        tuple(level(value) for value in found.exponents.tolist()),
        tuple("padding" if math.isnan(e) else level(e) for e in found.standard_errors.tolist()),
    )


def _state(layer: LayerFlow) -> int:
    """Numbers in s."""
    return layer.hidden * (1 if layer.c is None else 2)
