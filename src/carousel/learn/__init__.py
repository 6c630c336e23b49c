"""What the page and the quiz teach with: real networks behind every figure."""

from carousel.learn._explore import Curves, Exploration, explore
from carousel.learn._lesson import Lesson, LessonRequest, lesson
from carousel.learn._request import Items, Range, Text, parse
from carousel.learn._settings import Network, Settings

__all__ = [
    "Curves",
    "Exploration",
    "Items",
    "Lesson",
    "LessonRequest",
    "Network",
    "Range",
    "Settings",
    "Text",
    "explore",
    "lesson",
    "parse",
]
