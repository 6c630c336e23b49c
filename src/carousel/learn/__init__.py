"""What the page and the quiz teach with: real networks behind every figure."""

from carousel.learn._explore import Curves, Exploration, explore
from carousel.learn._request import Items, Range, Text, parse
from carousel.learn._sentences import (
    AccuracySpec,
    AccuracyTable,
    Beginning,
    Continuation,
    SentenceAnswer,
    SentenceSpec,
    agreement_accuracy,
    ask_sentence,
    continue_sentence,
)
from carousel.learn._settings import Network, Settings

__all__ = [
    "AccuracySpec",
    "AccuracyTable",
    "Beginning",
    "Continuation",
    "Curves",
    "Exploration",
    "Items",
    "Network",
    "Range",
    "SentenceAnswer",
    "SentenceSpec",
    "Settings",
    "Text",
    "agreement_accuracy",
    "ask_sentence",
    "continue_sentence",
    "explore",
    "parse",
]
