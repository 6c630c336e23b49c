"""The quiz: a bank of questions as data, how an attempt is drawn from it, and how it is scored.

The page and the terminal draw and score by the same rules: ``_attempt.py`` here, and
``web/src/quiz/attempt.ts``, which a shared table of draws holds together.
"""

from carousel.learn.quiz._attempt import Asked, draw, only, passed
from carousel.learn.quiz._bank import (
    Bank,
    BankRequest,
    Choice,
    Objective,
    Question,
    bank,
    load,
    numbers,
    plain,
)
from carousel.learn.quiz._check import problems
from carousel.learn.quiz._link import settings_of
from carousel.learn.quiz._marks import Marked
from carousel.learn.quiz._numbers import RECIPES, recompute

__all__ = [
    "RECIPES",
    "Asked",
    "Bank",
    "BankRequest",
    "Choice",
    "Marked",
    "Objective",
    "Question",
    "bank",
    "draw",
    "load",
    "numbers",
    "only",
    "passed",
    "plain",
    "problems",
    "recompute",
    "settings_of",
]
