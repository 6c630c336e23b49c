"""What the page and the quiz teach with: real networks behind every figure."""

from carousel.learn._explore import Curves, Exploration, explore
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
from carousel.learn._request import Items, Range, Text, parse
from carousel.learn._settings import Network, Settings

__all__ = [
    "Curves",
    "Exploration",
    "Items",
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
    "Range",
    "Settings",
    "Text",
    "explore",
    "model_layer",
    "model_map",
    "model_overview",
    "model_products",
    "parse",
]
