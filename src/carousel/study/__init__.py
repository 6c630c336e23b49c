"""Training small models on the data sets of ``carousel.tasks``."""

from carousel.study._models import (
    CELLS,
    NextCharacter,
    SequenceClassifier,
    model_for,
    sequence_loss,
)
from carousel.study._train import Progress, TrainingRecord, evaluate, train

__all__ = [
    "CELLS",
    "NextCharacter",
    "Progress",
    "SequenceClassifier",
    "TrainingRecord",
    "evaluate",
    "model_for",
    "sequence_loss",
    "train",
]
