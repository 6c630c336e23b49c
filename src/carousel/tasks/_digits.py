"""Handwritten digits, read as a sequence of single pixels.

Source: the test part of the "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak,
UCI 1998), 1 797 images of 8 x 8 pixels, as scikit-learn ships it. Reading an image pixel by pixel
follows Le, Jaitly and Hinton 2015, who did it with MNIST.
"""

from __future__ import annotations

import numpy as np
import torch

from carousel._errors import CarouselError
from carousel.tasks._data import SequenceData

__all__ = ["digits"]

BRIGHTEST = 16.0  # the pixels are counts from 0 to 16


def digits(*, test_share: float = 0.2, seed: int = 0) -> SequenceData:
    """The digits 0 to 9 as 64 steps of one pixel, row by row; the class is asked after the last.

    The split is drawn at random, keeps the share of every class, and is the same for the same seed.

    Args:
        test_share: the part of the images that is kept for testing, between 0 and 1.
        seed: of the split.

    Returns:
        Inputs float32 [N, 64, 1] in [0, 1], targets int64 [N].

    Raises:
        CarouselError: scikit-learn is not installed, or ``test_share`` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise CarouselError(
            f"test_share must lie between 0 and 1, both excluded, but is {test_share}; 0.2 keeps "
            "every fifth image for testing"
        )
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise CarouselError(
            "the digits come with scikit-learn, which is not installed; "
            "install it with: pip install 'carousel-rnn[data]'"
        ) from error

    images, classes = load_digits(return_X_y=True)
    pixels = (np.asarray(images) / BRIGHTEST).astype(np.float32)[:, :, np.newaxis]
    split = train_test_split(
        pixels, np.asarray(classes), test_size=test_share, random_state=seed, stratify=classes
    )
    train_inputs, test_inputs, train_targets, test_targets = (torch.from_numpy(a) for a in split)
    commonest = torch.bincount(train_targets).argmax()
    return SequenceData(
        name="digits",
        description="Handwritten digits, read as 64 steps of one pixel; the question is which "
        "digit it was.",
        train_inputs=train_inputs,
        train_targets=train_targets.long(),
        test_inputs=test_inputs,
        test_targets=test_targets.long(),
        classes=10,
        metric="accuracy",
        baseline=(test_targets == commonest).float().mean().item(),
        baseline_description="always the commonest digit",
    )
