"""The words of the agreement grammar, by what they may do in a sentence.

Nouns and verbs come as (singular, plural). Every form is spelled in one way only, and no word
belongs to two categories, so that a word alone says what it is. Determiners, adjectives and verbs
in the past tense show no number: only nouns and verbs in the present do.
"""

from __future__ import annotations

__all__ = [
    "ANIMATE_KINDS",
    "CATEGORIES",
    "FORMS",
    "NOUNS",
    "NUMBER_OF",
    "VERBS",
    "VOCABULARY",
    "other_number",
]

# Persons are followed by "who", animals and things by "which"; things do nothing by themselves.
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "person": (
        ("sister", "sisters"),
        ("brother", "brothers"),
        ("teacher", "teachers"),
        ("doctor", "doctors"),
        ("child", "children"),
        ("woman", "women"),
        ("king", "kings"),
        ("friend", "friends"),
    ),
    "animal": (
        ("cat", "cats"),
        ("dog", "dogs"),
        ("horse", "horses"),
        ("mouse", "mice"),
        ("bird", "birds"),
        ("goose", "geese"),
    ),
    "thing": (
        ("house", "houses"),
        ("garden", "gardens"),
        ("river", "rivers"),
        ("tree", "trees"),
        ("key", "keys"),
        ("shelter", "shelters"),
        ("window", "windows"),
        ("knife", "knives"),
    ),
}

ANIMATE_KINDS = ("person", "animal")  # who can sit and see

VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "intransitive": (
        ("sits", "sit"),
        ("sleeps", "sleep"),
        ("waits", "wait"),
        ("sings", "sing"),
        ("smiles", "smile"),
        ("runs", "run"),
        ("falls", "fall"),
        ("dreams", "dream"),
    ),
    "transitive": (
        ("sees", "see"),
        ("likes", "like"),
        ("knows", "know"),
        ("watches", "watch"),
        ("finds", "find"),
        ("loves", "love"),
        ("misses", "miss"),
        ("remembers", "remember"),
    ),
}

# What shows no number.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "determiner": ("the", "my", "your", "our"),
    "adjective": ("old", "young", "small", "tall", "quiet", "famous", "lost", "grey"),
    "preposition": ("near", "behind", "beside", "with", "from", "under", "above", "opposite"),
    "that": ("that",),
    "which": ("which",),
    "who": ("who",),
    "comma": (",",),
    "adverb": ("often", "always", "never", "sometimes", "rarely", "still"),
    "time": ("yesterday", "today", "recently", "again"),
    "past verb": ("bought", "met", "saw", "painted", "visited", "left"),
}

FORMS: dict[str, tuple[tuple[str, str], ...]] = NOUNS | VERBS

NUMBER_OF: dict[str, tuple[str, bool]] = {  # word: its category, and whether it is plural
    word: (category, plural)
    for category, pairs in FORMS.items()
    for pair in pairs
    for plural, word in enumerate(map(str, pair))
    for plural in (bool(plural),)
}

OTHER = {pair[k]: pair[1 - k] for pairs in FORMS.values() for pair in pairs for k in (0, 1)}

# Index 0 stands for no word: what batches are padded with.
VOCABULARY: tuple[str, ...] = (
    "",
    *(word for words in CATEGORIES.values() for word in words),
    *(word for pairs in FORMS.values() for pair in pairs for word in pair),
)


def other_number(word: str) -> str:
    """The same noun or verb in the other number: "sits" for "sit"."""
    return OTHER[word]
