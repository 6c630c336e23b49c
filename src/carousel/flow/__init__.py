"""Exact quantities over time, computed from traces: numbers, no opinions."""

from carousel.flow._flow import Flow, LayerFlow
from carousel.flow._horizon import Horizon
from carousel.flow._jacobian import JacobianNorms
from carousel.flow._measure_cell import measure_cell
from carousel.flow._nonfinite import NonFinite
from carousel.flow._norms import LayerNorms, NormWatcher, watch_norms
from carousel.flow._products import JacobianProduct
from carousel.flow._quantities import Category
from carousel.flow._spectrum import Spectrum
from carousel.flow._watch import Watcher, measure, watch

__all__ = [
    "Category",
    "Flow",
    "Horizon",
    "JacobianNorms",
    "JacobianProduct",
    "LayerFlow",
    "LayerNorms",
    "NonFinite",
    "NormWatcher",
    "Spectrum",
    "Watcher",
    "measure",
    "measure_cell",
    "watch",
    "watch_norms",
]
