"""What the page and the quiz teach with: real networks behind every figure."""

from carousel.learn._agreement_accuracy import AccuracySpec, AccuracyTable, agreement_accuracy
from carousel.learn._cell import CellGradient, CellRun, CellSettings, CellValues, run_cell
from carousel.learn._code import Code, CodeRequest, code
from carousel.learn._deeper import (
    Horizons,
    HorizonSaid,
    Products,
    ProductsOf,
    SingularValues,
    Spectra,
    SpectrumOf,
    horizons,
    products,
    spectra,
)
from carousel.learn._explore import Curves, Exploration, explore
from carousel.learn._exported import EXPORTED
from carousel.learn._lesson import Lesson, LessonRequest, lesson
from carousel.learn._matrix import Matrix, MatrixRequest, matrix
from carousel.learn._model import (
    ModelCure,
    ModelEntry,
    ModelFinding,
    ModelLayerRequest,
    ModelOverview,
    ModelPlace,
    ModelRemedy,
    ModelRequest,
    ModelView,
    model_overview,
)
from carousel.learn._model_layer import ModelBand, ModelGate, ModelLayer, ModelShare, model_layer
from carousel.learn._model_map import ModelMap, ModelMapRequest, model_map
from carousel.learn._model_products import ModelProducts, ModelProductsRequest, model_products
from carousel.learn._power import Power, PowerRequest, power
from carousel.learn._presets import PRESETS, Nothing, Preset, Presets, presets
from carousel.learn._request import Items, Range, Text, parse
from carousel.learn._sentences import (
    Beginning,
    Continuation,
    SentenceAnswer,
    SentenceSpec,
    ask_sentence,
    continue_sentence,
)
from carousel.learn._settings import Network, Settings, Unused

__all__ = [
    "EXPORTED",
    "PRESETS",
    "AccuracySpec",
    "AccuracyTable",
    "Beginning",
    "CellGradient",
    "CellRun",
    "CellSettings",
    "CellValues",
    "Code",
    "CodeRequest",
    "Continuation",
    "Curves",
    "Exploration",
    "HorizonSaid",
    "Horizons",
    "Items",
    "Lesson",
    "LessonRequest",
    "Matrix",
    "MatrixRequest",
    "ModelBand",
    "ModelCure",
    "ModelEntry",
    "ModelFinding",
    "ModelGate",
    "ModelLayer",
    "ModelLayerRequest",
    "ModelMap",
    "ModelMapRequest",
    "ModelOverview",
    "ModelPlace",
    "ModelProducts",
    "ModelProductsRequest",
    "ModelRemedy",
    "ModelRequest",
    "ModelShare",
    "ModelView",
    "Network",
    "Nothing",
    "Power",
    "PowerRequest",
    "Preset",
    "Presets",
    "Products",
    "ProductsOf",
    "Range",
    "SentenceAnswer",
    "SentenceSpec",
    "Settings",
    "SingularValues",
    "Spectra",
    "SpectrumOf",
    "Text",
    "Unused",
    "agreement_accuracy",
    "ask_sentence",
    "code",
    "continue_sentence",
    "explore",
    "horizons",
    "lesson",
    "matrix",
    "model_layer",
    "model_map",
    "model_overview",
    "model_products",
    "parse",
    "power",
    "presets",
    "products",
    "run_cell",
    "spectra",
]
