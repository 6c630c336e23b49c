"""What a recurrent network learns from: data sets, and long-range tasks that are made anew."""

from carousel.tasks._adding import Adding
from carousel.tasks._agreement import (
    VOCABULARY,
    Agreement,
    AgreementSentence,
    next_words,
    other_number,
    read_sentence,
)
from carousel.tasks._data import Metric, SequenceData
from carousel.tasks._delayed_recall import DelayedRecall
from carousel.tasks._digits import digits
from carousel.tasks._long_range import LongRangeTask, TaskBatch
from carousel.tasks._registry import DATASETS, TASKS, load, long_range
from carousel.tasks._temporal_order import TemporalOrder
from carousel.tasks._text import text

__all__ = [
    "DATASETS",
    "TASKS",
    "VOCABULARY",
    "Adding",
    "Agreement",
    "AgreementSentence",
    "DelayedRecall",
    "LongRangeTask",
    "Metric",
    "SequenceData",
    "TaskBatch",
    "TemporalOrder",
    "digits",
    "load",
    "long_range",
    "next_words",
    "other_number",
    "read_sentence",
    "text",
]
