"""What a question's link says: a part of the page, and settings in its query."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qsl

from carousel._errors import CarouselError
from carousel.learn._request import parse
from carousel.learn._settings import Settings, ignored

__all__ = ["settings_of"]

VERSION = "1"  # of the address: web/src/lib/address.svelte.ts
PARTS = ("lesson", "explorer", "cell", "sentences")


def settings_of(link: str) -> Settings | None:
    """The settings of a link into the explorer; None where it leads to another part, as it is.

    Raises:
        CarouselError: the page has no such part, or the explorer cannot be set to that.
    """
    part, _, query = link.partition("?")
    if part not in PARTS:
        raise CarouselError(f"{link}: expected one of the parts {', '.join(PARTS)}.")
    if part != "explorer":
        if query:
            raise CarouselError(f"{link}: only links into the explorer have settings here.")
        return None
    given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    if query and given.pop("v", None) != VERSION:
        raise CarouselError(f"{link}: expected v={VERSION}& before the settings.")
    settings = parse(Settings, _set(asdict(Settings()), given))
    for one in (settings.first, settings.second):
        in_vain = ignored(one)
        if in_vain:
            raise CarouselError(f"{link}: {in_vain[0]}")
    return settings


def _set(state: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """The state with first.cell=gru as state["first"]["cell"] = "gru", and so on."""
    for key, text in given.items():
        *groups, name = key.split(".")
        place = state
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = _value(text)
    return state


def _value(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
