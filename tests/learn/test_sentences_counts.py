"""The table of Sentences, counted once more from what the training command wrote."""

from __future__ import annotations

import json
from fractions import Fraction
from importlib.resources import files
from typing import Any, get_args

import pytest

from carousel.learn import AccuracySpec, agreement_accuracy
from carousel.learn._agreement_models import Budget

TRAINED_TO, TESTED_TO, TESTS = 30, 100, 50
FIRST_WITH_ALL = 19  # distances 1 to 18 have too few words between for six attractors


def written() -> dict[str, Any]:
    text = (files("carousel.learn") / "agreement" / "results.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(params=get_args(Budget))
def budget(request: pytest.FixtureRequest) -> Budget:
    return request.param  # type: ignore[no-any-return]


def hits_of(cell: str, budget: str, seeds: str = "runs") -> list[dict[tuple[int, int], int]]:
    """By network: (distance, attractors) -> right answers out of ``TESTS``."""
    return [
        {
            (distance, attractors): hits
            for distance, row in enumerate(run["hits"], start=1)
            for attractors, hits in enumerate(row)
        }
        for run in written()[seeds]
        if (run["cell"], run["budget"]) == (cell, budget)
    ]


def test_six_attractors_fit_from_the_distance_that_is_told(budget: Budget) -> None:
    (hits,) = hits_of("rnn", budget)
    every = [d for d in range(1, TESTED_TO + 1) if all((d, k) in hits for k in range(7))]
    assert every == list(range(FIRST_WITH_ALL, TESTED_TO + 1))
    told = agreement_accuracy(AccuracySpec(budget))
    assert told.attractors_from == FIRST_WITH_ALL
    assert (told.trained_to, told.tested_to) == (TRAINED_TO, TESTED_TO)


def test_by_attractors_every_distance_counts_that_has_them_all(budget: Budget) -> None:
    for cell in agreement_accuracy(AccuracySpec(budget)).cells:
        (hits,) = hits_of(cell.cell, budget)
        ranges = (
            (cell.by_attractors, range(FIRST_WITH_ALL, TRAINED_TO + 1)),
            (cell.by_attractors_beyond, range(TRAINED_TO + 1, TESTED_TO + 1)),
        )
        for told, distances in ranges:
            for attractors in range(7):
                expected = sum(hits[distance, attractors] for distance in distances)
                count = TESTS * len(distances)
                share = told[attractors]
                assert (share.hits, share.count) == (expected, count)
                assert share.value == pytest.approx(float(Fraction(expected, count)))
                assert share.low <= share.value <= share.high


def test_by_distance_and_in_all(budget: Budget) -> None:
    for cell in agreement_accuracy(AccuracySpec(budget)).cells:
        (hits,) = hits_of(cell.cell, budget)
        for distance, share in enumerate(cell.by_distance, start=1):
            row = [count for (at, _), count in hits.items() if at == distance]
            assert (share.hits, share.count) == (sum(row), TESTS * len(row))
        for share, inside in ((cell.within, True), (cell.beyond, False)):
            some = [n for (at, _), n in hits.items() if (at <= TRAINED_TO) == inside]
            assert (share.hits, share.count) == (sum(some), TESTS * len(some))


def test_networks_of_other_seeds(budget: Budget) -> None:
    for cell in agreement_accuracy(AccuracySpec(budget)).cells:
        others = hits_of(cell.cell, budget, "further")
        assert others
        within = [one.within for one in cell.others]
        beyond = [one.beyond for one in cell.others]
        for told, inside in ((within, True), (beyond, False)):
            shares = []
            for hits in others:
                some = [n for (at, _), n in hits.items() if (at <= TRAINED_TO) == inside]
                shares.append(sum(some) / (TESTS * len(some)))
            assert told == pytest.approx(shares)
