"""Subject-verb agreement: sentences whose verb has to remember a noun many words back.

    The cat , which my sister bought yesterday from the lost shelters , sits
        subject .......................... distance 12 ................ verb

The *distance* is the number of steps from the subject to its verb: 1 where the verb follows at
once; a comma is a word like any other. *Attractors* are the nouns between the two that have the
other number, such as "shelters": who listens to the nearest noun is led astray by them.

The grammar is one finite automaton. It makes sentences, reads them, and says which words may come
next, so that what is made and what is accepted cannot differ. Between subject and verb stand
prepositional phrases and relative clauses, each about the noun before it:

    sentence    = noun phrase, middle, [adverb], verb
    noun phrase = determiner, [adjective], noun
    middle      = phrases and clauses in any order, a clause only after a noun; once a clause may
                  open with ", which" or ", who", and its second comma then ends the middle
    phrase      = preposition, noun phrase
    clause      = "that", [adverb], verb, [noun phrase]              where the noun is its subject
                | "that", noun phrase, [phrase], [adverb], verb      where it is its object

Verbs in clauses agree too: with the noun that the clause is about, or with the noun within it.

Linzen, Dupoux & Goldberg 2016 and Gulordava et al. 2018 ask the same of real text, where distances
beyond ten words are rare.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple
from zlib import crc32

from carousel._errors import CarouselError
from carousel.tasks._agreement_words import (
    ANIMATE_KINDS,
    CATEGORIES,
    FORMS,
    NOUNS,
    NUMBER_OF,
    VOCABULARY,
    other_number,
)

__all__ = [
    "VOCABULARY",
    "Agreement",
    "AgreementSentence",
    "next_words",
    "other_number",
    "read_sentence",
]

LONGEST = 100
MOST_ATTRACTORS = 6
MOST_LISTED = 8  # words that an error names one by one

Part = Literal["training", "validation", "test"]
Ways = list[tuple[str, dict[str, Any]]]  # a category, and what it changes of the place
PARTS: tuple[Part, ...] = ("test", "test", "validation")  # of ten; the rest is for training

# Which kinds of noun may stand where.
KINDS: dict[str, tuple[str, ...]] = {
    "subject": ANIMATE_KINDS,
    "phrase": (*ANIMATE_KINDS, "thing"),
    "object": (*ANIMATE_KINDS, "thing"),
    "inner": ANIMATE_KINDS,  # the subject within a clause about an object
    "inner phrase": (*ANIMATE_KINDS, "thing"),
}

# How often what is taken where several go on; 1 where nothing is said.
WEIGHTS = {"preposition": 3.0, "that": 2.0, "comma": 0.7, "adjective": 0.3, "adverb": 0.4}


@dataclass(frozen=True)
class AgreementSentence:
    """A sentence and who is who in it. Words are in small letters; positions count from 0."""

    words: tuple[str, ...]
    subject: int
    verb: int  # the last word
    attractors: tuple[int, ...]  # nouns of the other number between the two

    @property
    def distance(self) -> int:
        """Steps from the subject to the verb."""
        return self.verb - self.subject

    @property
    def plural(self) -> bool:
        """Whether subject and verb are plural."""
        return NUMBER_OF[self.words[self.subject]][1]

    @property
    def part(self) -> Part:
        """Where it belongs, by a checksum of the words before the verb: none is in two."""
        tenth = crc32(" ".join(self.words[: self.verb]).encode()) % 10
        return PARTS[tenth] if tenth < len(PARTS) else "training"

    def __str__(self) -> str:
        text = " ".join(self.words).replace(" ,", ",")
        return f"{text[:1].upper()}{text[1:]}."


@dataclass(frozen=True)
class Agreement:
    """Sentences of a given distance with a given number of attractors.

    Each noun takes three words at least ("near the dogs"), so k attractors need a distance of
    3 k + 1 or more; all these pairs are possible.

    Args:
        distance: steps from the subject to its verb, 1 to 100.
        attractors: nouns of the other number between them, 0 to 6.

    Raises:
        CarouselError: no sentence of the grammar is like that.

    >>> sentence = Agreement(distance=7, attractors=1).sentence(random.Random(1))
    >>> sentence.distance, len(sentence.attractors)
    (7, 1)
    """

    distance: int
    attractors: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("distance", 1, LONGEST), ("attractors", 0, MOST_ATTRACTORS)):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise CarouselError(
                    f"{name}: expected a whole number from {least} to {most}, got {value!r}."
                )
        if self.distance < 3 * self.attractors + 1:
            raise CarouselError(
                f"{self.attractors} attractors do not fit into a distance of {self.distance}: each "
                f"takes three words at least, so the distance has to be "
                f"{3 * self.attractors + 1} or more."
            )

    def sentence(
        self, rng: random.Random, plural: bool | None = None, part: Part | None = None
    ) -> AgreementSentence:
        """A sentence drawn from ``rng``.

        Args:
            rng: the same state gives the same sentence.
            plural: the subject's number; None: either.
            part: draw until it belongs there; None: either.
        """
        while True:
            made = self.draw(rng, rng.random() < 0.5 if plural is None else plural)
            if part is None or made.part == part:
                return made

    def draw(self, rng: random.Random, plural: bool) -> AgreementSentence:
        """One sentence: a walk through the automaton that never loses sight of its end."""
        state = Reading()
        while state.place.at != "tail":  # the subject's own noun phrase
            choices = edges(state.place)
            weights = [WEIGHTS.get(category, 1.0) for category, _ in choices]
            category, _ = rng.choices(choices, weights)[0]
            state = state.then(drawn_word(category, plural, rng))
        left, need = self.distance - 1, self.attractors
        while left >= 0:
            steps, weights = open_steps(state.place, left, need)
            category, attracts = rng.choices(steps, weights)[0]
            number = state.number_for(category)
            if number is None:  # of a noun: that of the subject, or the other one
                number = plural != attracts
            state = state.then(drawn_word(category, number, rng))
            left, need = left - 1, need - attracts
        return state.finished()


class Place(NamedTuple):
    """A state of the automaton, numbers of nouns aside."""

    at: str = "subject:determiner"
    head: str = ""  # the kind of the noun that a clause from here on would be about
    comma: Literal["", "open", "closed"] = ""


BEGINNING = Place()


@cache
def edges(place: Place) -> tuple[tuple[str, Place], ...]:
    """Which categories of words may come next, and where they lead."""
    role, _, stage = place.at.partition(":")
    if stage == "determiner":
        return (("determiner", place._replace(at=f"{role}:noun")),)
    if stage in ("noun", "bare noun"):
        adjective = (("adjective", place._replace(at=f"{role}:bare noun")),)
        nouns = tuple((kind, after_noun(place, role, kind)) for kind in KINDS[role])
        return nouns if stage == "bare noun" else (*adjective, *nouns)
    return tuple((category, place._replace(**to)) for category, to in WAYS[role](place))


def after_noun(place: Place, role: str, kind: str) -> Place:
    """Where a noun leads. Within a clause about an object, the head outside stays as it is."""
    if role.startswith("inner"):
        return place._replace(at="inner" if role == "inner" else "inner end")
    return place._replace(at="tail", head=kind)


def ending(place: Place) -> Ways:
    """What brings the middle to its end."""
    if place.comma == "open":
        return [("comma", {"at": "closed", "comma": "closed"})]
    return [("adverb", {"at": "before verb"}), ("main verb", {"at": "end"})]


def tail(place: Place) -> Ways:
    """After a noun."""
    opening = [("comma", {"at": "relative", "comma": "open"})] if place.comma == "" else []
    that = [("that", {"at": "clause"})]
    return [*after_verb(place), *that, *opening]


def after_verb(place: Place) -> Ways:
    """After a clause that ended with its verb."""
    return [("preposition", {"at": "phrase:determiner"}), *ending(place)]


def clause(place: Place) -> Ways:
    """After "that", "which" or "who"."""
    about_subject = [("adverb", {"at": "clause verb"}), *clause_verb(place)]
    about_object = [("determiner", {"at": "inner:noun"})]
    return [*(about_subject if place.head in ANIMATE_KINDS else []), *about_object]


def clause_verb(_: Place) -> Ways:
    """The verb of a clause about its subject."""
    return [
        ("transitive of head", {"at": "object:determiner"}),
        ("intransitive of head", {"at": "after verb"}),
    ]


def inner_verb(_: Place) -> Ways:
    """The verb of a clause about its object."""
    return [("transitive of inner", {"at": "after verb"}), ("past verb", {"at": "after past"})]


WAYS: dict[str, Callable[[Place], Ways]] = {
    "tail": tail,
    "after verb": after_verb,
    "after past": lambda place: [("time", {"at": "after verb"}), *after_verb(place)],
    "relative": lambda place: [("who" if place.head == "person" else "which", {"at": "clause"})],
    "clause": clause,
    "clause verb": clause_verb,
    "inner": lambda place: [
        ("preposition", {"at": "inner phrase:determiner"}),
        *WAYS["inner end"](place),
    ],
    "inner end": lambda place: [("adverb", {"at": "inner verb"}), *inner_verb(place)],
    "inner verb": inner_verb,
    "closed": ending,
    "before verb": lambda _: [("main verb", {"at": "end"})],
    "end": lambda _: [],
}


@cache
def fits(place: Place, left: int, need: int) -> bool:
    """Whether the verb can come after exactly ``left`` words with ``need`` attractors in them."""
    if need < 0 or left < 3 * need - 2:  # the next word may be a noun; others are three apart
        return False
    for category, to in edges(place):
        if to.at == "end":
            if left == need == 0:
                return True
        elif left > 0 and (
            fits(to, left - 1, need) or (category in NOUNS and fits(to, left - 1, need - 1))
        ):
            return True
    return False


@cache
def open_steps(place: Place, left: int, need: int) -> tuple[list[tuple[str, bool]], list[float]]:
    """The categories from which the end can still be met, whether as an attractor, and weights."""
    steps: list[tuple[str, bool]] = []
    weights: list[float] = []
    # An attractor is drawn as often as spreads those that are needed over the nouns to come.
    share = need / max(need, left / 5 + 1)
    for category, to in edges(place):
        if to.at == "end":
            if left == need == 0:
                return [(category, False)], [1.0]
            continue
        weight = WEIGHTS.get(category, 1.0)
        parts = ((False, 1 - share), (True, share)) if category in NOUNS else ((False, 1.0),)
        for attracts, part in parts:
            if left > 0 and fits(to, left - 1, need - attracts):
                steps.append((category, attracts))
                weights.append(max(weight * part, 1e-6))
    return steps, weights


@dataclass(frozen=True)
class Reading:
    """How far a sentence was read: the automaton's place, numbers and positions."""

    words: tuple[str, ...] = ()
    place: Place = BEGINNING
    subject: int = -1
    nouns: tuple[int, ...] = ()  # after the subject
    head_plural: bool = False
    inner_plural: bool = False

    @property
    def plural(self) -> bool:
        return NUMBER_OF[self.words[self.subject]][1]

    def number_for(self, category: str) -> bool | None:
        """The number that a word of this category has to have; None: any, or it has none."""
        if category == "main verb":
            return self.plural
        if category.endswith(" of head"):
            return self.head_plural
        return self.inner_plural if category.endswith(" of inner") else None

    def options(self) -> dict[str, tuple[str, ...]]:
        """The words that may come next, by category."""
        return {
            category: words_of(category, self.number_for(category))
            for category, _ in edges(self.place)
        }

    def then(self, word: str) -> Reading:
        """One word further.

        Raises:
            CarouselError: it cannot stand there.
        """
        found = [
            (category, to)
            for category, to in edges(self.place)
            if word in words_of(category, self.number_for(category))
        ]
        if not found:
            raise CarouselError(self.refusal(word))
        category, to = found[0]  # no word belongs to two categories that may stand at one place
        read = replace(self, words=(*self.words, word), place=to)
        if category not in NOUNS:
            return read
        role, here, plural = self.place.at.partition(":")[0], len(self.words), NUMBER_OF[word][1]
        if role == "subject":
            return replace(read, subject=here, head_plural=plural)
        nouns = (*self.nouns, here)
        if role == "inner":
            return replace(read, nouns=nouns, inner_plural=plural)
        if role == "inner phrase":
            return replace(read, nouns=nouns)
        return replace(read, nouns=nouns, head_plural=plural)

    def refusal(self, word: str) -> str:
        """Why a word cannot stand here, and what can."""
        before = f"after {' '.join(self.words[-3:])!r}" if self.words else "at the beginning"
        possible = self.options()
        expected = f"expected {listed(possible)}." if possible else "nothing follows the verb."
        if word not in VOCABULARY[1:]:
            return (
                f"Word {len(self.words) + 1}, {word[:30]!r}, is none of the grammar's "
                f"{len(VOCABULARY) - 1} words; {before} {expected}"
            )
        return f"Word {len(self.words) + 1}, {word!r}, cannot stand {before}: {expected}"

    def finished(self) -> AgreementSentence:
        """The sentence, which ends with its verb.

        Raises:
            CarouselError: there is no verb yet.
        """
        if self.place.at != "end":
            raise CarouselError(
                f"The sentence has to end with its verb; after {' '.join(self.words[-3:])!r} "
                f"expected {listed(self.options())}."
            )
        return AgreementSentence(
            self.words,
            self.subject,
            len(self.words) - 1,
            tuple(at for at in self.nouns if NUMBER_OF[self.words[at]][1] != self.plural),
        )


def listed(options: dict[str, tuple[str, ...]]) -> str:
    """The words; where they are many, one of each category, and how many there are."""
    options = options | ({"comma": ("a comma",)} if "comma" in options else {})
    words = [word for found in options.values() for word in found]
    if len(words) <= MOST_LISTED:
        return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    some = [found[0] for found in options.values()]
    return f"one of {len(words)} words, such as {', '.join(some)}"


@cache
def words_of(category: str, plural: bool | None) -> tuple[str, ...]:
    """The words of a category, of one number or of both."""
    if category in CATEGORIES:
        return CATEGORIES[category]
    name = "intransitive" if category == "main verb" else category.split(" ", maxsplit=1)[0]
    numbers = (0, 1) if plural is None else (int(plural),)
    return tuple(pair[number] for pair in FORMS[name] for number in numbers)


def drawn_word(category: str, plural: bool | None, rng: random.Random) -> str:
    """A word of the category in the number asked for."""
    return rng.choice(words_of(category, plural))


def read_sentence(words: Sequence[str]) -> AgreementSentence:
    """Who is who in a sentence of the grammar.

    Args:
        words: in small letters, commas apart, ending with the verb.

    Raises:
        CarouselError: it is no sentence of the grammar; says where, and what could stand there.

    >>> read_sentence("the cat near the dogs sits".split()).attractors
    (4,)
    """
    return read_words(words).finished()


def next_words(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The words that may follow the beginning of a sentence, by category; {} after its verb.

    Raises:
        CarouselError: no sentence begins like that.
    """
    return read_words(words).options()


def read_words(words: Sequence[str]) -> Reading:
    """The beginning of a sentence."""
    state = Reading()
    for word in words:
        state = state.then(word)
    return state
