"""What is wrong with a bank: ``python -m carousel.learn.quiz`` prints it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from carousel._errors import CarouselError
from carousel.learn.quiz._bank import Bank, Question
from carousel.learn.quiz._link import settings_of

__all__ = ["problems"]

OPTIONS = 4
LEAST_BY_OBJECTIVE = 4
MOST_BY_LENGTH = 0.4  # the longest option, or the shortest, is right in at most so many questions
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# characters
MOST_QUESTION = 320
MOST_OPTION = 110
MOST_FEEDBACK = 320
LEAST_FEEDBACK = 20
MOST_SENTENCE_WORDS = 36
CATCH_ALL = re.compile(
    r"\b(all|none|both|neither) of the (above|others?|(other )?(options|answers))\b", re.IGNORECASE
)


def problems(bank: Bank) -> list[str]:
    """One sentence for each, none if the bank is as it should be."""
    found = list(_of_the_whole(bank))
    for question in bank.questions:
        found += [f"{question.id}: {one}" for one in _of_one(bank, question)]
    return found


def _of_the_whole(bank: Bank) -> Iterator[str]:
    for name, count in twice(one.id for one in bank.questions):
        yield f"{name}: the id is given to {count} questions."
    for text, count in twice(one.text for one in bank.questions):
        yield f"{text!r} is asked {count} times."
    by_objective = Counter(one.objective for one in bank.questions)
    for objective in bank.objectives:
        count = by_objective[objective.id]
        if count < LEAST_BY_OBJECTIVE:
            yield (
                f"{objective.id}: {count} questions, expected {LEAST_BY_OBJECTIVE} or more "
                "for each objective."
            )
    if not 0 < bank.drawn <= len(bank.questions):
        yield f"drawn: {bank.drawn} of {len(bank.questions)} questions cannot be drawn."
    if not 0 < bank.pass_percent <= 100:
        yield f"pass_percent: expected 1 to 100, got {bank.pass_percent}."
    for name, extreme in (("longest", max), ("shortest", min)):
        count = sum(_gives_away(one, extreme) for one in bank.questions)
        if count > MOST_BY_LENGTH * len(bank.questions):
            yield (
                f"The {name} option is the right one in {count} of {len(bank.questions)} "
                f"questions, expected at most {MOST_BY_LENGTH:.0%}: length gives it away."
            )


def twice(texts: Iterable[str]) -> list[tuple[str, int]]:
    """What stands there more than once, and how often."""
    return [(text, count) for text, count in Counter(texts).items() if count > 1]


def _gives_away(question: Question, extreme: Callable[[list[int]], int]) -> bool:
    """Whether the right option, and no other, is the longest or the shortest."""
    lengths = [len(one.text) for one in question.options]
    return [one.right for one in question.options if len(one.text) == extreme(lengths)] == [True]


def _of_one(bank: Bank, question: Question) -> Iterator[str]:
    if not ID.fullmatch(question.id):
        yield "expected an id of small letters, digits and hyphens."
    if question.objective not in {one.id for one in bank.objectives}:
        yield f"there is no objective {question.objective!r}."
    if not question.source.strip():
        yield "no source."
    if not question.shows.strip():
        yield "nothing is said of what the link shows."
    try:
        settings_of(question.link)
    except (CarouselError, ValueError) as error:
        yield f"the link does not work: {error}"
    yield from _of_its_options(question)
    yield from _of_its_length(question)


def _of_its_options(question: Question) -> Iterator[str]:
    if len(question.options) != OPTIONS:
        yield f"{len(question.options)} options, expected {OPTIONS}."
    if sum(one.right for one in question.options) != 1:
        yield "expected exactly one right option."
    if len({one.text for one in question.options}) < len(question.options):
        yield "two options say the same."
    for one in question.options:
        if CATCH_ALL.search(one.text):
            yield f"{one.text!r} points at other options, whose order changes."


def _of_its_length(question: Question) -> Iterator[str]:
    texts = [("the question", question.text, 10, MOST_QUESTION)]
    for at, option in enumerate(question.options):
        texts.append((f"option {at + 1}", option.text, 1, MOST_OPTION))
        texts.append(
            (f"the feedback to option {at + 1}", option.feedback, LEAST_FEEDBACK, MOST_FEEDBACK)
        )
    for place, text, least, most in texts:
        if not least <= len(text) <= most:
            yield f"{place} has {len(text)} characters, expected {least} to {most}."
        words = max((len(one.split()) for one in re.split(r"[.?!:;] ", text)), default=0)
        if words > MOST_SENTENCE_WORDS:
            yield f"{place}: a sentence of {words} words, expected at most {MOST_SENTENCE_WORDS}."
