"""Clipping that cuts nearly every step, from the norms of a training."""

from __future__ import annotations

import math

import pytest
from tests.diagnosis.models import found, made, measured
from torch import nn

from carousel import CarouselError
from carousel.diagnosis import ClippingRecord


@pytest.mark.parametrize(("cut", "sick"), [(0, False), (8, False), (9, True), (10, True)])
def test_nine_in_ten(cut: int, *, sick: bool) -> None:
    norms = [2.0] * cut + [0.5] * (10 - cut)
    findings = found(measured(made(nn.RNN)), "clipping", clipping=ClippingRecord(1.0, norms))
    assert bool(findings) == sick
    if sick:
        assert findings[0].evidence["clipped_steps_share"] == cut / 10
        assert findings[0].layer == ""


def test_a_norm_at_the_limit_is_not_cut() -> None:
    flow = measured(made(nn.RNN))
    assert not found(flow, "clipping", clipping=ClippingRecord(1.0, [1.0] * 20))


def test_infinite_norms_are_cut() -> None:
    (finding,) = found(
        measured(made(nn.RNN)), "clipping", clipping=ClippingRecord(1.0, [math.inf] * 12)
    )
    assert "all of 12 training steps" in finding.sentence


def test_nothing_is_known_without_norms() -> None:
    assert not found(measured(made(nn.RNN)), "clipping")


@pytest.mark.parametrize(
    ("limit", "norms", "words"),
    [(0.0, [1.0] * 20, "max_norm above 0"), (1.0, [1.0] * 9, "at least 10 training steps, got 9")],
)
def test_bad_input(limit: float, norms: list[float], words: str) -> None:
    with pytest.raises(CarouselError, match=words):
        ClippingRecord(limit, norms)
