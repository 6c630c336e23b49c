"""Sentences of the agreement grammar: exactly as asked for, grammatical, and told apart by part."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carousel import CarouselError
from carousel.tasks import (
    VOCABULARY,
    Agreement,
    AgreementSentence,
    next_words,
    other_number,
    read_sentence,
)
from carousel.tasks._agreement import Place, fits
from carousel.tasks._agreement_words import ANIMATE_KINDS, CATEGORIES, NOUNS, VERBS

PAIRS = st.integers(1, 100).flatmap(
    lambda distance: st.tuples(st.just(distance), st.integers(0, min(6, (distance - 1) // 3)))
)

NOUN_PLURAL = {
    word: bool(k) for pairs in NOUNS.values() for pair in pairs for k, word in enumerate(pair)
}
VERB_PLURAL = {
    word: bool(k) for pairs in VERBS.values() for pair in pairs for k, word in enumerate(pair)
}


def made(
    distance: int, attractors: int, seed: int, plural: bool | None = None
) -> AgreementSentence:
    return Agreement(distance, attractors).sentence(random.Random(seed), plural)


@settings(max_examples=150, deadline=None)
@given(PAIRS, st.integers(0, 10_000), st.booleans())
def test_a_sentence_is_as_asked(pair: tuple[int, int], seed: int, plural: bool) -> None:
    sentence = made(*pair, seed, plural)
    assert (sentence.distance, len(sentence.attractors)) == pair
    assert sentence.plural == plural
    # Counted anew from the words alone: the subject is the first noun, the verb the last word.
    nouns = [at for at, word in enumerate(sentence.words) if word in NOUN_PLURAL]
    assert sentence.subject == nouns[0]
    assert sentence.verb == len(sentence.words) - 1
    assert sentence.verb - sentence.subject == pair[0]
    others = [at for at in nouns[1:] if NOUN_PLURAL[sentence.words[at]] != plural]
    assert list(sentence.attractors) == others
    assert NOUN_PLURAL[sentence.words[nouns[0]]] == plural
    assert VERB_PLURAL[sentence.words[-1]] == plural


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.integers(0, 10_000))
def test_what_is_made_can_be_read(pair: tuple[int, int], seed: int) -> None:
    sentence = made(*pair, seed)
    assert read_sentence(sentence.words) == sentence
    for end in range(len(sentence.words)):
        options = next_words(sentence.words[:end])
        assert sentence.words[end] in [word for words in options.values() for word in words]
    assert next_words(sentence.words) == {}


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.integers(0, 10_000))
def test_a_wrong_verb_is_refused(pair: tuple[int, int], seed: int) -> None:
    """Every verb in the present, of clauses too, agrees with one noun."""
    words = list(made(*pair, seed).words)
    for at in [at for at, word in enumerate(words) if word in VERB_PLURAL]:
        changed = [*words[:at], other_number(words[at]), *words[at + 1 :]]
        with pytest.raises(CarouselError, match=f"Word {at + 1}, '{changed[at]}', cannot stand"):
            read_sentence(changed)


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.integers(0, 10_000))
def test_by_the_words_of_the_grammar(pair: tuple[int, int], seed: int) -> None:
    """What a reader would check, without the automaton."""
    words = made(*pair, seed).words
    known = set(VOCABULARY[1:])
    assert set(words) <= known
    assert words.count(",") in (0, 2)
    for before, after in pairwise(words):
        if before in CATEGORIES["determiner"]:
            assert after in CATEGORIES["adjective"] or after in NOUN_PLURAL
        if before in CATEGORIES["preposition"]:
            assert after in CATEGORIES["determiner"]
        if before in NOUN_PLURAL:
            assert after not in CATEGORIES["determiner"]
        if after in ("which", "who"):
            assert before == ","
    for at, word in enumerate(words):
        if word == "who":
            assert words[at - 2] in [noun for nouns in NOUNS["person"] for noun in nouns]
    things = [noun for nouns in NOUNS["thing"] for noun in nouns]
    assert next(word for word in words if word in NOUN_PLURAL) not in things


def test_every_pair_is_possible_or_refused() -> None:
    start = Place("tail", ANIMATE_KINDS[0])
    for distance in range(1, 101):
        for attractors in range(7):
            possible = fits(start, distance - 1, attractors)
            assert possible == (distance > 3 * attractors)
            if possible:
                assert len(made(distance, attractors, 0).attractors) == attractors
            else:
                need = 3 * attractors + 1
                with pytest.raises(CarouselError, match=f"has to be {need} or more"):
                    Agreement(distance, attractors)


@pytest.mark.parametrize(
    ("distance", "attractors", "name"),
    [(0, 0, "distance"), (101, 0, "distance"), (50, 7, "attractors"), (50, -1, "attractors"),
     (2.0, 0, "distance")],
)  # fmt: skip
def test_out_of_range(distance: int, attractors: int, name: str) -> None:
    with pytest.raises(CarouselError, match=f"{name}: expected a whole number from"):
        Agreement(distance, attractors)


def test_the_same_seed_gives_the_same_sentence() -> None:
    assert made(25, 3, seed=7) == made(25, 3, seed=7)
    assert made(25, 3, seed=7) != made(25, 3, seed=8)


def test_variety() -> None:
    """Each kind of phrase and clause comes up, at the distances of training."""
    rng = random.Random(0)
    seen: set[str] = set()
    for distance in range(1, 31):
        for _ in range(30):
            words = Agreement(distance, min(3, (distance - 1) // 3)).sentence(rng).words
            seen.update(words)
    assert seen == set(VOCABULARY[1:])


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.sampled_from(["training", "validation", "test"]), st.integers(0, 1000))
def test_parts_are_told_apart_by_the_words(pair: tuple[int, int], part: str, seed: int) -> None:
    sentence = Agreement(*pair).sentence(random.Random(seed), part=part)  # type: ignore[arg-type]
    assert sentence.part == part
    # The verb does not decide: what is read before it is in one part, whatever follows.
    *before, verb = sentence.words
    others = [pair[NOUN_PLURAL[before[sentence.subject]]] for pair in VERBS["intransitive"]]
    assert verb in others
    assert {read_sentence([*before, other]).part for other in others} == {part}


def test_the_shares_of_the_parts() -> None:
    rng = random.Random(0)
    parts = [Agreement(20, 2).sentence(rng).part for _ in range(2000)]
    assert parts.count("test") / 2000 == pytest.approx(0.2, abs=0.04)
    assert parts.count("validation") / 2000 == pytest.approx(0.1, abs=0.03)


def test_the_seeds_example() -> None:
    """A distance counts the commas: here twelve steps."""
    text = "the cat , which my sister bought yesterday from the lost shelters , sits"
    sentence = read_sentence(text.split())
    assert (sentence.distance, len(sentence.attractors)) == (12, 1)
    assert str(sentence) == (
        "The cat, which my sister bought yesterday from the lost shelters, sits."
    )
    assert read_sentence(["the", "cat", "sits"]).distance == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the platypus sits", "Word 2, 'platypus', is none of the grammar's .* words; after 'the'"),
        ("cats sit", "Word 1, 'cats', cannot stand at the beginning: expected one of the, my"),
        ("the cat sit", "Word 3, 'sit', cannot stand after 'the cat': expected .*sits"),
        ("the cat near", "end with its verb; after 'the cat near' expected one of the, my"),
        ("the cat sits the", "Word 4, 'the', cannot stand after 'the cat sits': nothing follows"),
        ("the cat , which sits sits", "Word 6, 'sits', cannot stand"),  # no comma at its end
        ("the cat , who", "Word 4, 'who', cannot stand after 'the cat ,': expected which"),
        ("", "has to end with its verb"),
    ],
)
def test_errors_say_what_could_stand_there(text: str, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        read_sentence(text.split())


def test_no_word_means_two_things() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY))
    assert 100 <= len(VOCABULARY) - 1 <= 150
    for word in [*NOUN_PLURAL, *VERB_PLURAL]:
        assert other_number(other_number(word)) == word != other_number(word)
