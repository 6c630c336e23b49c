"""What the page and the quiz teach with: real networks behind every figure."""

from carousel.learn._explore import Curves, Exploration, explore
from carousel.learn._exported import EXPORTED
from carousel.learn._request import Items, Range, Text, parse
from carousel.learn._settings import Network, Settings

__all__ = [
    "EXPORTED",
    "Curves",
    "Exploration",
    "Items",
    "Network",
    "Range",
    "Settings",
    "Text",
    "explore",
    "parse",
]
