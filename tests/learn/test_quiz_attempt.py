"""Attempts: drawn evenly, shuffled, the same in Python and in TypeScript."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from carousel import CarouselError
from carousel.learn.quiz import Bank, Choice, Objective, Question, bank, draw, only, passed
from carousel.learn.quiz._attempt import generator

# Read by web/src/quiz/attempt.test.ts as well.
SHARED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "web" / "src" / "quiz" / "draws.json").read_text(encoding="utf-8")
)
SMALL = Bank(
    objectives=tuple(Objective(one["id"], "") for one in SHARED["bank"]["objectives"]),
    questions=tuple(
        Question(
            id=one["id"],
            objective=one["objective"],
            text="",
            options=tuple(Choice(text, False, "") for text in one["options"]),
            source="",
            link="",
            shows="",
        )
        for one in SHARED["bank"]["questions"]
    ),
    drawn=3,
    pass_percent=70,
)


@pytest.mark.parametrize("one", SHARED["random"])
def test_random_numbers(one: dict[str, Any]) -> None:
    random = generator(one["seed"])
    assert [random() for _ in one["numbers"]] == one["numbers"]


@pytest.mark.parametrize("one", SHARED["draws"])
def test_draws(one: dict[str, Any]) -> None:
    found = draw(SMALL, one["count"], one["seed"], one["objectives"])
    assert [{"question": a.question, "order": list(a.order)} for a in found] == one["asked"]


@pytest.mark.parametrize("one", SHARED["again"])
def test_the_same_questions_again(one: dict[str, Any]) -> None:
    found = only(SMALL, one["questions"], one["seed"])
    assert [{"question": a.question, "order": list(a.order)} for a in found] == one["asked"]


@pytest.mark.parametrize("one", SHARED["passed"])
def test_what_passes(one: dict[str, Any]) -> None:
    assert passed(one["right"], one["of"], one["percent"]) is one["passed"]


@pytest.mark.parametrize("seed", range(20))
def test_an_attempt_is_even_over_the_objectives(seed: int) -> None:
    asked = draw(bank(), bank().drawn, seed)
    about = Counter(bank().question(one.question).objective for one in asked)
    assert len(asked) == bank().drawn == 10
    assert len({one.question for one in asked}) == 10
    assert set(about.values()) <= {1, 2}  # ten questions over nine objectives
    assert len(about) == len(bank().objectives)
    assert all(sorted(one.order) == [0, 1, 2, 3] for one in asked)


def test_another_seed_asks_and_orders_otherwise() -> None:
    attempts = [draw(bank(), 10, seed) for seed in range(30)]
    assert len({tuple(one.question for one in asked) for asked in attempts}) == 30
    assert draw(bank(), 10, 3) == attempts[3]
    names = [one.question for one in attempts[0]]
    assert len({only(bank(), names, seed) for seed in range(30)}) == 30


def test_every_question_comes_up() -> None:
    seen = Counter(one.question for seed in range(300) for one in draw(bank(), 10, seed))
    assert set(seen) == {one.id for one in bank().questions}


def test_an_objective_alone() -> None:
    asked = draw(bank(), 10, 0, ["gates"])
    expected = {one.id for one in bank().questions if one.objective == "gates"}
    assert {one.question for one in asked} == expected


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(CarouselError, match=r"no objective 'gate'.*vanishing, product"):
        draw(bank(), 10, 0, ["gates", "gate"])


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(CarouselError, match="no question 'nonsense'"):
        only(bank(), ["nonsense"], 0)
