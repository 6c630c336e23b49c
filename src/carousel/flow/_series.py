"""A quantity by step, over all sequences: median, a band that holds most, and categories."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel._quantile import quantile
from carousel.flow._quantities import Category

__all__ = ["BAND", "Piece", "Series", "kinds_of", "series_of"]

BAND = (0.1, 0.9)  # quantiles over the sequences, as in the report


@dataclass(frozen=True)
class Piece:
    """Steps in which a category occurs without a gap."""

    begin: float  # in steps; step t fills t - 1/2 to t + 1/2
    end: float
    every: bool  # for every sequence, and not only for some


@dataclass(frozen=True, eq=False)
class Series:
    """Log10 norms by step, neighbouring steps joined to N bins where there are very many.

    Levels are log10, float64 [N]: -inf is an exact zero, +inf an infinity, NaN stands where no
    sequence has anything but NaN or padding; ``counts`` tells the two apart.
    """

    steps: int  # T
    width: int  # steps to a bin
    median: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]  # [N, 6] how many norms of the bin fall into each Category

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of each bin, in steps: step t itself where each step has its bin. [N]."""
        first = np.arange(len(self.median)) * self.width
        return (first + np.minimum(first + self.width, self.steps) - 1) / 2

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where bins begin and end, in steps, step t from t - 1/2 to t + 1/2. [N + 1]."""
        first = np.arange(len(self.median) + 1) * self.width
        return np.minimum(first, self.steps) - 0.5

    def share(self, category: Category) -> NDArray[np.float64]:
        """The part of the norms in each bin that are of this category, 0 to 1 [N].

        Of the norms that are there; for padding, of all.
        """
        counted = self.counts.sum(axis=1)
        if category is not Category.PADDING:
            counted = counted - self.counts[:, Category.PADDING]
        there: NDArray[np.float64] = self.counts[:, category] / np.maximum(counted, 1)
        return there

    @property
    def met(self) -> tuple[Category, ...]:
        """The categories that occur, plain values left out."""
        return tuple(kind for kind in Category if kind and self.counts[:, kind].any())

    def pieces(self, category: Category) -> list[Piece]:
        """Where this category occurs, in runs of bins."""
        share = self.share(category)
        kind = np.where(share == 0, 0, np.where(share == 1, 2, 1))
        cuts = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]
        edges = self.edges.tolist()
        return [
            Piece(edges[first], edges[end], bool(kind[first] == 2))
            for first, end in pairwise(cuts)
            if kind[first]
        ]


def kinds_of(log10: Tensor, dtype: torch.dtype, there: Tensor) -> Tensor:
    """The category of each norm by its log10 alone, int8 in the same shape.

    Args:
        log10: of any shape.
        dtype: of the module's arithmetic, whose range decides what under- and overflows.
        there: bool in the same shape; what is not there is padding.
    """
    limits = torch.finfo(dtype)
    kinds = torch.zeros_like(log10, dtype=torch.int8)
    kinds[log10 < math.log10(limits.tiny)] = Category.UNDERFLOW
    kinds[log10 == -math.inf] = Category.ZERO
    kinds[log10 > math.log10(limits.max)] = Category.INFINITE
    kinds[log10.isnan()] = Category.NAN
    kinds[~there] = Category.PADDING
    return kinds


def series_of(log10: Tensor, category: Tensor, most_bins: int) -> Series:
    """Join sequences and neighbouring steps.

    Args:
        log10: [T, B].
        category: of the same norms [T, B] int8.
        most_bins: N is at most this.
    """
    steps = log10.shape[0]
    width = math.ceil(steps / most_bins)
    bins = math.ceil(steps / width)
    missing = (0, 0, 0, bins * width - steps)
    log10 = torch.nn.functional.pad(log10.cpu().double(), missing).reshape(bins, -1)
    category = torch.nn.functional.pad(category.cpu(), missing, value=-1).reshape(bins, -1)
    ranked = (category >= 0) & (category != Category.PADDING) & (category != Category.NAN)
    some = ranked.any(dim=1)

    def level(share: float) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (
            quantile(log10, ranked, share).masked_fill(~some, math.nan).numpy()
        )
        return found

    counts = torch.stack([(category == kind).sum(dim=1) for kind in Category], dim=1)
    return Series(steps, width, level(0.5), level(BAND[0]), level(BAND[1]), counts.numpy())
