"""Numbers and sentences."""

from __future__ import annotations

import math

import pytest

from carousel.report._schema import Certificate, HorizonSummary, Level
from carousel.report._words import (
    as_ascii,
    certificate_sentence,
    clean,
    horizon_in_short,
    norm,
    plain,
)


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0.0, "1"),
        (math.log10(0.031), "0.031"),
        (math.log10(12345.0), "1.2×10⁴"),
        (-399.62, "2.4×10⁻⁴⁰⁰"),
        (-7.0001, "1.0×10⁻⁷"),
        (308.7, "5.0×10³⁰⁸"),
        ("zero", "exactly zero"),
        ("nan", "NaN"),
        ("infinite", "infinite"),
        ("padding", "no data"),
    ],
)
def test_norm(level: Level, said: str) -> None:
    assert norm(level) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2.04, "2.0"),
        (56.2, "56.2"),
        (263.4, "263"),
        (1596.0, "1\N{NO-BREAK SPACE}596"),
        (2.5e7, "2.5e+07"),
        (0.286, "0.286"),
        (math.inf, "infinite"),
        (math.nan, "NaN"),
    ],
)
def test_plain(value: float, said: str) -> None:
    assert plain(value) == said


def test_ascii() -> None:
    assert as_ascii("2.4×10⁻⁴⁰⁰ and 10⁻¹⁰ · 3 × 4") == "2.4e-400 and 1e-10 - 3 x 4"
    assert as_ascii("10⁻¹ to 10⁻¹⁵") == "1e-1 to 1e-15"
    assert as_ascii("é") == "\\xe9"


def test_clean() -> None:
    assert clean("a\x1b[2Jb\nc\u202ed") == "a [2Jb c d"
    assert clean("naïve – 数") == "naïve – 数"


def horizon(kind: str, steps: float | None = None) -> HorizonSummary:
    return HorizonSummary(kind, None, None, steps, (2.8, "infinite") if steps else None, None, "")


def test_horizon_in_short() -> None:
    assert (
        horizon_in_short(horizon("decaying", 3.04)) == "3.0 steps [2.8,\N{NO-BREAK SPACE}infinite]"
    )
    kinds = ("growing", "level", "zero", "nonfinite", "too short")
    assert len({horizon_in_short(horizon(kind)) for kind in kinds}) == len(kinds)


def test_certificate() -> None:
    assert "exactly" in certificate_sentence(Certificate(0.0, 1e-6, within=True))
    assert "to 3.0e-08 (limit 1.0e-06)" in certificate_sentence(
        Certificate(3e-8, 1e-6, within=True)
    )
    assert "MISSED" in certificate_sentence(Certificate(0.1, 1e-6, within=False))
    assert "by NaN" in certificate_sentence(Certificate("nan", 1e-6, within=False))
