"""How often the trained networks prefer the right verb: what the training command counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from carousel.learn._agreement_models import CELLS, FOLDER, Budget, Cell
from carousel.learn._wilson import Share, share

__all__ = ["AccuracySpec", "AccuracyTable", "agreement_accuracy"]

LEAST_FOR_ALL = 19  # the distance from which every number of attractors is possible


@dataclass(frozen=True)
class AccuracySpec:
    """Which pair of networks."""

    budget: Budget = "long"


@dataclass(frozen=True)
class CurvePoint:
    """How many verbs of the validation sentences are right after so many steps of training."""

    step: int
    value: float


@dataclass(frozen=True)
class SeedAccuracy:
    """The same of a network that was trained from another seed, without intervals."""

    seed: int
    within: float
    beyond: float
    by_distance: tuple[float, ...]
    by_attractors: tuple[float, ...]
    by_attractors_beyond: tuple[float, ...]
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class CellAccuracy:
    """How often one network prefers the right form, on sentences that it was not trained on."""

    cell: Cell
    parameters: int
    learning_rate: float
    within: Share  # over the distances that it was trained on
    beyond: Share  # over longer ones
    seed: int  # of this network, the one that ships
    by_distance: tuple[Share, ...]  # 1, 2, ..: all numbers of attractors that fit
    by_attractors: tuple[Share, ...]  # 0 .. 6, at the distances named in the table
    by_attractors_beyond: tuple[Share, ...]
    curve: tuple[CurvePoint, ...]
    others: tuple[SeedAccuracy, ...]


@dataclass(frozen=True)
class TrainingBudget:
    """How long a pair of networks was trained."""

    name: Budget
    steps: int


@dataclass(frozen=True)
class AccuracyTable:
    """What the training command counted."""

    cells: tuple[CellAccuracy, ...]  # rnn, lstm
    steps: int  # of training, of this pair
    budgets: tuple[TrainingBudget, ...]  # of all pairs
    batch: int  # sentences in each step
    learning_rates: tuple[float, ...]  # that were tried for each
    trained_to: int  # the longest distance in training
    validation: int  # sentences of each distance up to there, which ``curve`` is of
    tests: int  # sentences of each distance and number of attractors, which all else is of
    tested_to: int
    attractors_from: int  # ``by_attractors`` is over these distances to ``trained_to``


def agreement_accuracy(
    spec: AccuracySpec, proceed: Callable[[], None] = lambda: None
) -> AccuracyTable:
    """The counts of both networks, with intervals."""
    proceed()
    plan = results()["plan"]
    return AccuracyTable(
        cells=tuple(cell_accuracy(cell, spec.budget) for cell in CELLS),
        steps=plan["steps"][spec.budget],
        budgets=tuple(TrainingBudget(name, steps) for name, steps in plan["steps"].items()),
        batch=plan["batch"],
        learning_rates=tuple(plan["learning_rates"]),
        trained_to=plan["longest"],
        validation=plan["validation"],
        tests=plan["tests"],
        tested_to=plan["tested_to"],
        attractors_from=LEAST_FOR_ALL,
    )


@cache
def results() -> dict[str, Any]:
    """What the training command wrote."""
    found: dict[str, Any] = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    return found


def cell_accuracy(cell: Cell, budget: Budget) -> CellAccuracy:
    """One network's counts, added up in several ways, and those from other seeds."""
    found, plan = results(), results()["plan"]
    (run,) = (one for one in found["runs"] if (one["cell"], one["budget"]) == (cell, budget))
    counts = Counts(run["hits"], plan["tests"], plan["longest"])
    return CellAccuracy(
        cell=cell,
        parameters=run["parameters"],
        learning_rate=run["learning_rate"],
        within=counts.within,
        beyond=counts.beyond,
        seed=run["seed"],
        by_distance=counts.by_distance,
        by_attractors=counts.by_attractors(beyond=False),
        by_attractors_beyond=counts.by_attractors(beyond=True),
        curve=curve_of(run),
        others=tuple(
            seed_accuracy(one, plan)
            for one in found["further"]
            if (one["cell"], one["budget"]) == (cell, budget)
        ),
    )


def seed_accuracy(run: dict[str, Any], plan: dict[str, Any]) -> SeedAccuracy:
    """The same without intervals."""
    counts = Counts(run["hits"], plan["tests"], plan["longest"])
    return SeedAccuracy(
        seed=run["seed"],
        within=counts.within.value,
        beyond=counts.beyond.value,
        by_distance=tuple(one.value for one in counts.by_distance),
        by_attractors=tuple(one.value for one in counts.by_attractors(beyond=False)),
        by_attractors_beyond=tuple(one.value for one in counts.by_attractors(beyond=True)),
        curve=curve_of(run),
    )


def curve_of(run: dict[str, Any]) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(step, value) for step, value in run["curve"])


@dataclass(frozen=True)
class Counts:
    """How many of so many ``tests`` were right, by distance and number of attractors."""

    hits: Sequence[Sequence[int]]
    tests: int
    longest: int  # distance in training

    def added(self, rows: Sequence[Sequence[int]]) -> Share:
        return share(sum(map(sum, rows)), self.tests * sum(map(len, rows)))

    @property
    def within(self) -> Share:
        return self.added(self.hits[: self.longest])

    @property
    def beyond(self) -> Share:
        return self.added(self.hits[self.longest :])

    @property
    def by_distance(self) -> tuple[Share, ...]:
        return tuple(self.added([row]) for row in self.hits)

    def by_attractors(self, *, beyond: bool) -> tuple[Share, ...]:
        """0 to 6, at distances that have room for all of them."""
        first = self.longest if beyond else LEAST_FOR_ALL - 1
        rows = self.hits[first:] if beyond else self.hits[first : self.longest]
        return tuple(
            share(sum(row[count] for row in rows), self.tests * len(rows)) for count in range(7)
        )
