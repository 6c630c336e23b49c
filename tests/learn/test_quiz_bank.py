"""The bank itself: no problem with it, its links open, its numbers are what is computed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace

import pytest
import torch

from carousel import CarouselError
from carousel.learn import Network, Settings, explore
from carousel.learn._settings import network
from carousel.learn.quiz import (
    RECIPES,
    Bank,
    Choice,
    Marked,
    Question,
    bank,
    load,
    numbers,
    plain,
    problems,
    recompute,
    settings_of,
)
from carousel.serve._api import answer

NUMBERS = [(question, one) for question, found in numbers().items() for one in found]


def test_there_is_nothing_wrong_with_the_bank() -> None:
    assert problems(bank()) == []


def test_it_covers_all_objectives() -> None:
    by_objective = Counter(one.objective for one in bank().questions)
    assert set(by_objective) == {one.id for one in bank().objectives}
    assert len(by_objective) >= 8
    assert min(by_objective.values()) >= 4
    assert len(bank().questions) >= 44


@pytest.mark.parametrize(("question", "number"), NUMBERS, ids=[f"{q}-{n.text}" for q, n in NUMBERS])
def test_each_number_is_what_is_computed(question: str, number: Marked) -> None:
    del question  # names the case
    found = recompute(number)
    assert number.agrees(found), f"{number.text} is written, {found!r} is computed"


def test_enough_questions_have_such_numbers() -> None:
    assert sum(bool(found) for found in numbers().values()) >= 12


def test_every_recipe_is_used() -> None:
    assert {one.recipe for _, one in NUMBERS} == set(RECIPES)


def test_no_mark_is_shown() -> None:
    told = json.dumps(asdict(bank()))
    assert "[[" not in told
    assert "|gate" not in told


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("0.731", 0.7306, 0.7304),
        ("22", 22.4, 22.6),
        ("1,048,576", 1_048_576, 1_048_577),
        ("9.5 × 10^{-7}", 9.537e-7, 9.6e-7),
        ("10^{-68}", 9.5e-69, 1.6e-68),
        ("73 %", 0.731, 0.74),
    ],
)
def test_a_number_is_held_against_the_digits_written(text: str, right: float, wrong: float) -> None:
    number = Marked(text, "gate", ("1",))
    assert number.agrees(right)
    assert not number.agrees(wrong)


@pytest.mark.parametrize("text", ["", "three", "1,04", "5 10^{3}", "5 × ", "1.", "0.5 x"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(CarouselError, match="no number that can be checked"):
        Marked(text, "gate", ()).agrees(1.0)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(CarouselError, match=r"no recipe 'gaet'.*gate, gate_slope"):
        recompute(Marked("1", "gaet", ()))


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CarouselError, match=r"\[\[1\|gate one\]\]: could not convert"):
        recompute(Marked("1", "gate", ("one",)))


def test_the_page_gets_what_the_bank_holds() -> None:
    assert answer("quiz", {}) == bank()
    with pytest.raises(CarouselError, match="objective is unknown"):
        answer("quiz", {"objective": "gates"})


def test_the_module_says_that_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "carousel.learn.quiz"], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{len(bank().questions)} questions, and nothing wrong with them.\n"
    assert done.returncode == 0


# --- links


def test_a_link_says_settings() -> None:
    found = settings_of(
        "explorer?v=1&first.init=orthogonal&first.gain=2&steps=50&second.forget_bias="
    )
    assert found == Settings(first=Network("rnn-tanh", init="orthogonal", gain=2.0), steps=50)
    assert settings_of("explorer") == Settings()
    assert settings_of("cell") is None


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("nowhere", "expected one of the parts lesson, explorer"),
        ("cell?v=1&steps=3", "only links into the explorer have settings"),
        ("explorer?steps=3", "expected v=1&"),
        ("explorer?v=1&steps=501", "steps: expected a whole number from 1 to 500"),
        ("explorer?v=1&first.cel=gru", "first.cel is unknown"),
        ("explorer?v=1&first.forget_bias=1", "There is no such bias: a simple RNN has no gates"),
        ("explorer?v=1&second.init=identity", "The identity is a start for a simple RNN"),
    ],
)
def test_a_link_that_does_not_work_is_refused(link: str, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        settings_of(link)


@pytest.mark.parametrize(
    ("question", "factor"),
    [
        ("double-twenty-times", 2.0),
        ("down-to-a-hundredth", 0.8),
        ("window-of-truncation", 0.9),
        ("total-and-injected", 2.0),
    ],
)
def test_a_link_shows_the_factor_that_is_asked_about(question: str, factor: float) -> None:
    settings = settings_of(bank().question(question).link)
    assert settings is not None
    first, *_, last = explore(settings).first.d_h
    assert isinstance(first, float)
    assert isinstance(last, float)
    assert first - last == pytest.approx((settings.steps - 1) * math.log10(factor), abs=1e-3)


def test_a_link_shows_eigenvalues_and_singular_values_on_either_side_of_1() -> None:
    settings = settings_of(bank().question("eigenvalues-are-not-enough").link)
    assert settings is not None
    weights = network(settings.first, settings.steps, settings.seed).get_parameter("weight_hh_l0")
    assert torch.linalg.eigvals(weights).abs().max() < 1
    assert torch.linalg.svdvals(weights)[0] > 1


def test_a_link_shows_an_exact_zero() -> None:
    settings = settings_of(bank().question("zero-or-underflow").link)
    assert settings is not None
    assert explore(settings).first.d_h[5] == "zero"


# --- the validator finds what is planted


def planted(**changes: object) -> list[str]:
    """The problems of a bank whose first question is changed."""
    first, *others = bank().questions
    return problems(replace(bank(), questions=(replace(first, **changes), *others)))  # type: ignore[arg-type]


def options_with(at: int, **changes: object) -> tuple[Choice, ...]:
    options = list(bank().questions[0].options)
    options[at] = replace(options[at], **changes)  # type: ignore[arg-type]
    return tuple(options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": bank().questions[1].id}, "the id is given to 2 questions"),
        ({"id": "Not an id"}, "small letters, digits and hyphens"),
        ({"objective": "cooking"}, "there is no objective 'cooking'"),
        ({"text": bank().questions[1].text}, "is asked 2 times"),
        ({"text": "Why? " * 100}, "the question has 500 characters"),
        ({"text": "word " * 40}, "a sentence of 40 words"),
        ({"source": " "}, "no source"),
        ({"shows": ""}, "nothing is said of what the link shows"),
        ({"link": "explorer?v=1&steps=0"}, "the link does not work: steps: expected"),
        ({"link": "explorer?v=1&&=="}, "the link does not work"),
        ({"options": bank().questions[0].options[:3]}, "3 options, expected 4"),
        ({"options": options_with(0, right=False)}, "expected exactly one right option"),
        ({"options": options_with(1, right=True)}, "expected exactly one right option"),
        ({"options": options_with(1, feedback="Wrong.")}, "the feedback to option 2 has 6 char"),
        ({"options": options_with(2, text="All of the above")}, "points at other options"),
        (
            {"options": options_with(2, text=bank().questions[0].options[0].text)},
            "two options say the same",
        ),
    ],
)
def test_the_validator_finds_it(changes: dict[str, object], message: str) -> None:
    found = planted(**changes)
    assert any(message in one for one in found), found


@pytest.mark.parametrize(("name", "length"), [("longest", 100), ("shortest", 1)])
def test_the_validator_finds_answers_given_away_by_their_length(name: str, length: int) -> None:
    def stretched(question: Question) -> Question:
        options = tuple(
            replace(one, text="x" * length) if one.right else replace(one, text=f"{at:050}")
            for at, one in enumerate(question.options)
        )
        return replace(question, options=options)

    found = problems(replace(bank(), questions=tuple(map(stretched, bank().questions))))
    count = len(bank().questions)
    told = f"The {name} option is the right one in {count} of {count} questions, expected at most"
    assert found == [f"{told} 40%: length gives it away."]


def test_the_validator_finds_an_objective_with_too_few_questions() -> None:
    few = tuple(one for one in bank().questions if one.objective != "gates")
    found = problems(replace(bank(), questions=few))
    assert found == ["gates: 0 questions, expected 4 or more for each objective."]


def test_the_validator_finds_rules_that_make_no_attempt() -> None:
    found = problems(replace(bank(), drawn=1000, pass_percent=0))
    assert [one.split(":")[0] for one in found] == ["drawn", "pass_percent"]


# --- reading

SMALL = """
drawn = 1
pass_percent = 70
[[objectives]]
id = "a"
name = "A"
[[questions]]
id = "one"
objective = "a"
text = "What is σ(0)?"
right = ["[[0.5|gate 0]]", "In the middle."]
wrong = [["0", "No."], ["1", "No."], ["2", "No."]]
source = "-"
link = "cell"
shows = "The cell"
"""


def test_a_bank_is_read() -> None:
    found = load(SMALL)
    assert isinstance(found, Bank)
    assert [one.text for one in found.question("one").options] == ["0.5", "0", "1", "2"]
    with pytest.raises(CarouselError, match="no question 'two'"):
        found.question("two")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("drawn = 1", "drawn =", "The bank is no TOML"),
        ("drawn = 1", "", "The bank: drawn missing"),
        ('source = "-"', "", "The question 'one': source missing"),
        ('source = "-"', 'source = "-"\nhint = "?"', "hint unknown; expected id, link"),
        ('name = "A"', 'title = "A"', "The objective 'a': name missing"),
        ('["0", "No."]', '["0"]', r"expected each option as \[text, feedback\]"),
    ],
)
def test_a_bank_of_another_form_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        load(SMALL.replace(old, new))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("h_{t-1} = 10^{-7}", "h_(t-1) = 10^-7"),
        ("c_{n} of `code_x`", "c_n of code_x"),
        ("W_hh", "W_hh"),
    ],
)
def test_texts_for_the_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown
