"""Data sets that a recurrent network learns from, one step of a sequence at a time."""

from carousel.tasks._data import Metric, SequenceData
from carousel.tasks._digits import digits
from carousel.tasks._registry import DATASETS, load
from carousel.tasks._text import text

__all__ = ["DATASETS", "Metric", "SequenceData", "digits", "load", "text"]
