"""The text of Python's own documentation, read character by character.

Source: ``pydoc_data.topics``, the language reference that CPython ships for ``help()``. Its length
depends on the version of Python.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.tasks._data import SequenceData

__all__ = ["text"]


def text(*, steps: int = 100, test_share: float = 0.1) -> SequenceData:
    """Predict the next character of Python's documentation, at every step.

    The topics are joined in the order of their names. The last part of the text is kept for
    testing, and both parts are cut into windows of ``steps`` characters that do not overlap; the
    characters left over are dropped. The target of a step is the character that follows it. A
    symbol is a character's place in ``SequenceData.symbols``, every character of the whole text in
    the order of their code points.

    Args:
        steps: T, the characters in a window.
        test_share: the part of the text that is kept for testing, between 0 and 1.

    Returns:
        Inputs and targets int64 [N, T].

    Raises:
        CarouselError: this Python has no documentation text, or the windows do not fit into it.
    """
    characters = documentation()
    symbols = "".join(sorted(set(characters)))
    place = {character: index for index, character in enumerate(symbols)}
    encoded = torch.tensor([place[character] for character in characters])

    boundary = round(len(encoded) * (1 - test_share))
    train, test = encoded[:boundary], encoded[boundary:]
    if steps < 1 or min(len(train), len(test)) <= steps:
        raise CarouselError(
            f"windows of {steps} characters with test_share={test_share} leave {len(train)} "
            f"characters for training and {len(test)} for testing; each part must hold at least "
            "one window of one or more characters and the character after it"
        )
    train_inputs, train_targets = windows(train, steps)
    test_inputs, test_targets = windows(test, steps)
    return SequenceData(
        name="text",
        description="The documentation that Python ships, read character by character; the "
        "question is which one comes next.",
        train_inputs=train_inputs,
        train_targets=train_targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
        classes=len(symbols),
        metric="bits per character",
        baseline=bigram_bits(
            (train_inputs, train_targets), (test_inputs, test_targets), len(symbols)
        ),
        baseline_description="only which character follows which",
        symbols=symbols,
    )


def documentation() -> str:
    """All topics of Python's documentation, in the order of their names, an empty line between."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CarouselError(
            "the text is Python's own documentation (pydoc_data.topics), which this Python was "
            "installed without; install the full standard library, or use another data set"
        ) from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def windows(symbols: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets [N, T] of all whole windows in ``symbols``, an int64 vector."""
    count = (len(symbols) - 1) // steps
    inputs = symbols[: count * steps].reshape(count, steps)
    targets = symbols[1 : count * steps + 1].reshape(count, steps)
    return inputs, targets


def bigram_bits(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> float:
    """Bits per character of a predictor that sees the current character and remembers none.

    -mean_t log2 p(y_t | x_t) over ``test``, with p(y | x) = (how often y follows x in train + 1) /
    (how often x occurs + classes): the one that is added keeps a pair that only the test part has
    from costing infinitely much.

    Args:
        train: inputs and targets, int64 of any equal shapes.
        test: likewise.
        classes: how many symbols there are.
    """
    inputs, targets = (part.flatten() for part in train)
    pairs = torch.bincount(inputs * classes + targets, minlength=classes * classes)
    counts = pairs.reshape(classes, classes).double() + 1
    bits = -(counts / counts.sum(dim=1, keepdim=True)).log2()
    return bits[test[0].flatten(), test[1].flatten()].mean().item()
