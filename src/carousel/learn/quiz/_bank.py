"""The bank as dataclasses, read from ``bank.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from carousel._errors import CarouselError
from carousel.learn.quiz._marks import Marked, marked, unmarked

__all__ = [
    "Bank",
    "BankRequest",
    "Choice",
    "Objective",
    "Question",
    "bank",
    "load",
    "numbers",
    "plain",
]


@dataclass(frozen=True)
class BankRequest:
    """The whole bank: there is nothing to be chosen."""


@dataclass(frozen=True)
class Choice:
    """One of a question's options, with what is said of it afterwards."""

    text: str
    right: bool
    feedback: str


@dataclass(frozen=True)
class Question:
    """A question, its options in the order of the bank, and where to read and look on."""

    id: str
    objective: str  # its id
    text: str
    options: tuple[Choice, ...]
    source: str
    link: str  # a part of the page and its settings, as in the address: "explorer?v=1&steps=50"
    shows: str  # what is to be seen there


@dataclass(frozen=True)
class Objective:
    """What a part of the questions is about."""

    id: str
    name: str


@dataclass(frozen=True)
class Bank:
    """All questions, and the rules of an attempt."""

    objectives: tuple[Objective, ...]
    questions: tuple[Question, ...]
    drawn: int  # questions of an attempt
    pass_percent: int  # of its answers that have to be right

    def question(self, name: str) -> Question:
        """The question of that id.

        Raises:
            CarouselError: there is none.
        """
        for one in self.questions:
            if one.id == name:
                return one
        raise CarouselError(f"There is no question {name!r} in the bank.")


@cache
def bank() -> Bank:
    """The bank as it is shown, without the marks of its numbers."""
    return _bank(_raw(), unmarked)


def load(text: str) -> Bank:
    """A bank from TOML, as it is shown.

    Raises:
        CarouselError: it is no TOML, or a field is missing, unknown or of another form.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CarouselError(f"The bank is no TOML: {error}.") from error
    return _bank(raw, unmarked)


def numbers() -> dict[str, tuple[Marked, ...]]:
    """The numbers that can be recomputed, by question."""
    found = _bank(_raw(), str)
    return {
        question.id: tuple(one for text in _texts(question) for one in marked(text))
        for question in found.questions
    }


def plain(text: str) -> str:
    """A text for the terminal: h_{t-1} as h_(t-1), 10^{-7} as 10^-7, `code` without its marks."""
    text = re.sub(r"_\{(.)\}", r"_\1", text)
    text = re.sub(r"_\{([^}]*)\}", r"_(\1)", text)
    text = re.sub(r"\^\{([^}]*)\}", r"^\1", text)
    return text.replace("`", "")


def _raw() -> dict[str, Any]:
    content = (files("carousel.learn.quiz") / "bank.toml").read_text(encoding="utf-8")
    return tomllib.loads(content)


def _texts(question: Question) -> Iterator[str]:
    yield question.text
    for option in question.options:
        yield option.text
        yield option.feedback


def _bank(raw: Mapping[str, Any], shown: Any) -> Bank:
    """The dataclasses, each text passed through ``shown``."""
    known = {field.name for field in fields(Bank)}
    _exactly(raw, known, "The bank")
    objectives = tuple(_objective(one) for one in raw["objectives"])
    questions = tuple(_question(one, shown) for one in raw["questions"])
    return Bank(objectives, questions, raw["drawn"], raw["pass_percent"])


def _objective(raw: Mapping[str, Any]) -> Objective:
    _exactly(raw, {"id", "name"}, f"The objective {raw.get('id')!r}")
    return Objective(raw["id"], raw["name"])


def _question(raw: Mapping[str, Any], shown: Any) -> Question:
    place = f"The question {raw.get('id')!r}"
    names = {"id", "objective", "text", "right", "wrong", "source", "link", "shows"}
    _exactly(raw, names, place)
    pairs = [raw["right"], *raw["wrong"]]
    if not all(len(pair) == 2 and all(isinstance(one, str) for one in pair) for pair in pairs):
        raise CarouselError(
            f"{place}: expected each option as [text, feedback], both texts; got {pairs!r:.200}."
        )
    options = tuple(
        Choice(shown(text), at == 0, shown(feedback)) for at, (text, feedback) in enumerate(pairs)
    )
    return Question(
        id=raw["id"],
        objective=raw["objective"],
        text=shown(raw["text"]),
        options=options,
        source=raw["source"],
        link=raw["link"],
        shows=raw["shows"],
    )


def _exactly(raw: Mapping[str, Any], names: set[str], place: str) -> None:
    """The fields are these, no more and no fewer."""
    if missing := names - raw.keys():
        raise CarouselError(f"{place}: {', '.join(sorted(missing))} missing.")
    if unknown := raw.keys() - names:
        expected = ", ".join(sorted(names))
        raise CarouselError(f"{place}: {', '.join(sorted(unknown))} unknown; expected {expected}.")
