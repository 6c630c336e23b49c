"""Exact quantities over time, computed from traces: numbers, no opinions."""

from carousel.flow._carousel import CarouselShare, StepTerms
from carousel.flow._difference import Difference
from carousel.flow._flow import Flow
from carousel.flow._horizon import Horizon, t_quantile
from carousel.flow._itemised import Itemised
from carousel.flow._jacobian import JacobianNorms
from carousel.flow._layer_flow import LayerFlow
from carousel.flow._measure_cell import measure_cell
from carousel.flow._nonfinite import NonFinite
from carousel.flow._norms import LayerNorms, NormWatcher, watch_norms
from carousel.flow._omega import Omega, omega_gradient
from carousel.flow._parameters import ParameterTerms
from carousel.flow._paths import Paths
from carousel.flow._plots import LayerPlots
from carousel.flow._products import JacobianProduct
from carousel.flow._quantities import Category
from carousel.flow._spectrum import Spectrum
from carousel.flow._split import Split
from carousel.flow._tiny import Tiny
from carousel.flow._truncated import Gradient1997
from carousel.flow._truncation import Truncation, TruncationCurve
from carousel.flow._watch import Watcher, described, loss_of, measure, watch

__all__ = [
    "CarouselShare",
    "Category",
    "Difference",
    "Flow",
    "Gradient1997",
    "Horizon",
    "Itemised",
    "JacobianNorms",
    "JacobianProduct",
    "LayerFlow",
    "LayerNorms",
    "LayerPlots",
    "NonFinite",
    "NormWatcher",
    "Omega",
    "ParameterTerms",
    "Paths",
    "Spectrum",
    "Split",
    "StepTerms",
    "Tiny",
    "Truncation",
    "TruncationCurve",
    "Watcher",
    "described",
    "loss_of",
    "measure",
    "measure_cell",
    "omega_gradient",
    "t_quantile",
    "watch",
    "watch_norms",
]
