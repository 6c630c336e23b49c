"""How an attempt is drawn and scored. ``web/src/quiz/attempt.ts`` says the same in TypeScript.

All that is random comes from a generator small enough to be written twice (mulberry32, Tommy
Ettinger 2017, public domain): the same seed draws the same attempt in the page and in the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TypeVar

from carousel._errors import CarouselError
from carousel.learn.quiz._bank import Bank, Question

__all__ = ["Asked", "draw", "only", "passed"]

LIMIT = 2**32

X = TypeVar("X")


@dataclass(frozen=True)
class Asked:
    """One question of an attempt, and its options in the order in which they are shown."""

    question: str  # its id
    order: tuple[int, ...]  # indices into the question's options


def draw(bank: Bank, count: int, seed: int, objectives: Sequence[str] = ()) -> tuple[Asked, ...]:
    """Draw an attempt: as even over the objectives as the count allows, shuffled at the end.

    Args:
        bank: what is drawn from.
        count: questions; fewer where there are not as many.
        seed: 0 to 2^32 - 1; the same one draws the same.
        objectives: ids, to draw from these alone; none: from all.

    Raises:
        CarouselError: there is no such objective.
    """
    known = [one.id for one in bank.objectives]
    if wrong := [one for one in objectives if one not in known]:
        raise CarouselError(
            f"There is no objective {wrong[0]!r}. Expected one of: {', '.join(known)}."
        )
    random = generator(seed)
    names = shuffled([one for one in known if not objectives or one in objectives], random)
    piles = [
        shuffled([one for one in bank.questions if one.objective == name], random) for name in names
    ]
    # one of each pile in turn, until there are enough
    turns = [one for one in chain(*zip_longest(*piles)) if one is not None][:count]
    return settle(shuffled(turns, random), random)


def only(bank: Bank, questions: Sequence[str], seed: int) -> tuple[Asked, ...]:
    """These questions again, in a new order: what was missed.

    Raises:
        CarouselError: there is no such question.
    """
    random = generator(seed)
    return settle(shuffled([bank.question(one) for one in questions], random), random)


def settle(questions: Sequence[Question], random: Callable[[], int]) -> tuple[Asked, ...]:
    """Each question with its options shuffled."""
    return tuple(
        Asked(one.id, tuple(shuffled(range(len(one.options)), random))) for one in questions
    )


def passed(right: int, of: int, percent: int) -> bool:
    """Whether so many right answers are enough: 7 of 10 at 70 %."""
    return of > 0 and right * 100 >= of * percent


def shuffled(entries: Sequence[X], random: Callable[[], int]) -> list[X]:
    """A shuffled copy (Fisher & Yates)."""
    found = list(entries)
    for at in range(len(found) - 1, 0, -1):
        other = random() * (at + 1) // LIMIT
        found[at], found[other] = found[other], found[at]
    return found


def generator(seed: int) -> Callable[[], int]:
    """mulberry32: whole numbers from 0 to 2^32 - 1, each as likely as the others."""
    state = seed % LIMIT

    def step() -> int:
        nonlocal state
        state = (state + 0x6D2B79F5) % LIMIT
        mixed = (state ^ state >> 15) * (state | 1) % LIMIT
        mixed ^= (mixed + (mixed ^ mixed >> 7) * (mixed | 61)) % LIMIT
        return mixed ^ mixed >> 14

    return step
