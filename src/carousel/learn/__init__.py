"""What the page and the quiz teach with: real networks behind every figure."""

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
from carousel.learn._power import Power, PowerRequest, power
from carousel.learn._presets import PRESETS, Nothing, Preset, Presets, presets
from carousel.learn._request import Items, Range, Text, parse
from carousel.learn._settings import Network, Settings, Unused

__all__ = [
    "EXPORTED",
    "PRESETS",
    "CellGradient",
    "CellRun",
    "CellSettings",
    "CellValues",
    "Code",
    "CodeRequest",
    "Curves",
    "Exploration",
    "HorizonSaid",
    "Horizons",
    "Items",
    "Lesson",
    "LessonRequest",
    "Matrix",
    "MatrixRequest",
    "Network",
    "Nothing",
    "Power",
    "PowerRequest",
    "Preset",
    "Presets",
    "Products",
    "ProductsOf",
    "Range",
    "Settings",
    "SingularValues",
    "Spectra",
    "SpectrumOf",
    "Text",
    "Unused",
    "code",
    "explore",
    "horizons",
    "lesson",
    "matrix",
    "parse",
    "power",
    "presets",
    "products",
    "run_cell",
    "spectra",
]
