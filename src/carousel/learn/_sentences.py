"""Sentences before two trained networks: what each makes of the verb, and by which words.

The gradient is that of L = logit of the right form - logit of the wrong one, at the word before the
verb: how a small change of each word would move the choice.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow import measure
from carousel.learn._agreement_models import CELLS, Budget, Cell, encode, trained
from carousel.learn._request import Range, Text
from carousel.report import Level, level
from carousel.tasks import (
    VOCABULARY,
    Agreement,
    AgreementSentence,
    next_words,
    other_number,
    read_sentence,
)

__all__ = [
    "Beginning",
    "Continuation",
    "SentenceAnswer",
    "SentenceSpec",
    "ask_sentence",
    "continue_sentence",
]

LONGEST_TEXT = 1200
GUESSES = 5


@dataclass(frozen=True)
class SentenceSpec:
    """A sentence made to measure, or one's own; and how long the networks were trained."""

    distance: Annotated[int, Range(1, 100)] = 12
    attractors: Annotated[int, Range(0, 6)] = 2
    number: Literal["singular", "plural"] = "singular"
    seed: Annotated[int, Range(0, 9999)] = 1880  # a sentence that somebody might say
    budget: Budget = "long"
    own: Annotated[str, Text(LONGEST_TEXT)] = ""  # where it is not empty, it is taken


@dataclass(frozen=True)
class SentenceWord:
    """A word and its part in the agreement."""

    text: str
    role: Literal["", "subject", "verb", "attractor"]


@dataclass(frozen=True)
class Guess:
    """A word that may come next."""

    word: str
    probability: float  # among all words


@dataclass(frozen=True)
class Prediction:
    """What one network says at the verb, and the gradient back to every word before it."""

    cell: Cell
    preferred: str  # the form of the verb with the larger logit
    right: bool
    share: float  # of the right form, between the two forms
    right_logit: float
    wrong_logit: float
    guesses: tuple[Guess, ...]  # the likeliest words of all
    d_h: tuple[Level, ...]  # ||dL/dh_t|| by word, the verb left out
    d_word: tuple[Level, ...]  # ||dL/dE[w_t]||: of the word's own vector at this place
    horizon: str  # a sentence; "" where the interval of the rate holds zero and says nothing


@dataclass(frozen=True)
class SentenceAnswer:
    """The sentence with its roles, and both networks' predictions."""

    words: tuple[SentenceWord, ...]
    text: str
    distance: int
    right_form: str
    wrong_form: str
    predictions: tuple[Prediction, ...]  # rnn, lstm
    smallest_log10: float  # below it, float32 has no normal number
    part: Literal["training", "validation", "test"]  # that the words before the verb belong to


def ask_sentence(spec: SentenceSpec, proceed: Callable[[], None] = lambda: None) -> SentenceAnswer:
    """Make or read the sentence, and let both networks read it up to its verb.

    Raises:
        CarouselError: no sentence is like that, or one's own is none of the grammar.
    """
    sentence = sentence_of(spec)
    right = sentence.words[-1]
    answers = []
    for cell in CELLS:
        proceed()
        answers.append(prediction(cell, spec.budget, sentence))
    roles = {sentence.subject: "subject", sentence.verb: "verb"}
    roles |= dict.fromkeys(sentence.attractors, "attractor")
    return SentenceAnswer(
        words=tuple(
            SentenceWord(word, roles.get(at, ""))  # type: ignore[arg-type]
            for at, word in enumerate(sentence.words)
        ),
        text=str(sentence),
        distance=sentence.distance,
        right_form=right,
        wrong_form=other_number(right),
        predictions=tuple(answers),
        smallest_log10=math.log10(torch.finfo(torch.float32).tiny),
        part=sentence.part,
    )


def sentence_of(spec: SentenceSpec) -> AgreementSentence:
    """One's own, or one that no network was trained on."""
    if spec.own:
        return read_sentence(split(spec.own))
    rng = random.Random(spec.seed)
    agreement = Agreement(spec.distance, spec.attractors)
    return agreement.sentence(rng, plural=spec.number == "plural", part="test")


def split(text: str) -> list[str]:
    """The words of a text as the grammar has them: small letters, commas apart, no full stop."""
    return text.lower().replace(",", " , ").strip().removesuffix(".").split()


def prediction(cell: Cell, budget: Budget, sentence: AgreementSentence) -> Prediction:
    """One network at the verb, measured."""
    model = trained(cell, budget)
    before = encode(sentence.words[: sentence.verb])[:, None]  # [T, 1]
    right, wrong = encode((sentence.words[-1], other_number(sentence.words[-1]))).tolist()
    x = model.embedding(before).detach().requires_grad_()  # [T, 1, E]

    def logits() -> Tensor:
        made: Tensor = model.head(model.recurrent(x)[0][-1, 0])
        return made

    def difference() -> Tensor:
        made = logits()
        return made[right] - made[wrong]

    layer = measure(model, difference)["recurrent.l0"]
    horizon = layer.horizon()
    (d_word,) = torch.autograd.grad(difference(), x)
    with torch.no_grad():
        said = logits().double()
    probabilities = said.softmax(0)
    likeliest = probabilities.topk(GUESSES).indices.tolist()
    gap = (said[right] - said[wrong]).item()
    return Prediction(
        cell=cell,
        preferred=VOCABULARY[right if gap > 0 else wrong],
        right=gap > 0,
        share=1 / (1 + math.exp(-gap)),
        right_logit=said[right].item(),
        wrong_logit=said[wrong].item(),
        guesses=tuple(Guess(VOCABULARY[k], probabilities[k].item()) for k in likeliest),
        d_h=levels(layer.log10_norm("d_h")[:, 0]),
        d_word=levels(d_word[:, 0].double().norm(dim=-1).log10()),
        horizon="" if horizon.kind == "level" else str(horizon),
    )


def levels(log10: Tensor) -> tuple[Level, ...]:
    """By word."""
    return tuple(level(value) for value in log10.tolist())


@dataclass(frozen=True)
class Beginning:
    """The first words of a sentence of one's own."""

    text: Annotated[str, Text(LONGEST_TEXT)] = ""


@dataclass(frozen=True)
class WordGroup:
    """Words of one category."""

    category: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Continuation:
    """What may come next."""

    text: str  # of the words so far, up to the first that cannot stand where it does
    groups: tuple[WordGroup, ...]  # what may follow ``text``
    finished: bool  # the verb is there, and nothing follows
    error: str  # why what was given is the beginning of no sentence, or ""


# Of the grammar's categories, where a reader would call them otherwise.
LABELS = {
    "person": "noun: persons",
    "animal": "noun: animals",
    "thing": "noun: things",
    "that": "clause",
    "which": "clause",
    "who": "clause",
    "transitive of head": "verb and object",
    "intransitive of head": "verb alone",
    "transitive of inner": "verb of the clause",
    "past verb": "in the past",
    "main verb": "the verb",
}


def continue_sentence(
    beginning: Beginning, proceed: Callable[[], None] = lambda: None
) -> Continuation:
    """The words that the grammar allows after those."""
    proceed()
    words, error = split(beginning.text), ""
    try:
        next_words(words)
    except CarouselError as refused:
        error = str(refused)
        # A beginning that cannot be read has no longer one that can.
        longest = bisect_left(range(len(words)), True, key=lambda at: not readable(words[: at + 1]))
        words = words[:longest]
    groups = tuple(
        WordGroup(LABELS.get(name, name), found) for name, found in next_words(words).items()
    )
    return Continuation(" ".join(words), groups, finished=not groups and not error, error=error)


def readable(words: Sequence[str]) -> bool:
    """Whether a sentence may begin like that."""
    try:
        next_words(words)
    except CarouselError:
        return False
    return True
