"""Numbers in a text that say how they are recomputed: ``[[0.731|gate 1]]``.

What stands before the bar is what is read; behind it are a recipe of ``_numbers.py`` and its
arguments. A number is right if it is the recomputed one rounded to the digits that are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from carousel._errors import CarouselError

__all__ = ["Marked", "marked", "unmarked"]

MARK = re.compile(r"\[\[([^|\[\]]*)\|([^\[\]]*)\]\]")
# 0.731, 1,048,576, 9.5 × 10^{-7}, 10^{-68}, 73 %
WRITTEN = re.compile(
    r"(?:(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<decimals>\d+))?)?"
    r"(?:(?P<times> × )?10\^\{(?P<power>-?\d+)\})?(?P<percent> %)?"
)


@dataclass(frozen=True)
class Marked:
    """One number of the bank."""

    text: str  # as it is read
    recipe: str
    arguments: tuple[str, ...]

    def agrees(self, found: float) -> bool:
        """Whether this is ``found``, rounded to the digits that are written."""
        value, unit = self._read()
        return abs(found - value) <= unit / 2 * (1 + 1e-9)

    def _read(self) -> tuple[float, float]:
        """The number, and what its last digit counts."""
        told = WRITTEN.fullmatch(self.text)
        if told is None or self.text.strip() == "" or (told["digits"] and not _joined(told)):
            raise CarouselError(
                f"{self.text!r} is no number that can be checked: expected one like 0.731, "
                "1,048,576, 9.5 × 10^{-7} or 73 %."
            )
        decimals = told["decimals"] or ""
        digits = (told["digits"] or "1").replace(",", "")
        scale = 10.0 ** int(told["power"] or 0) * (0.01 if told["percent"] else 1)
        number = float(f"{digits}.{decimals}" if decimals else digits)
        return number * scale, 10.0 ** -len(decimals) * scale


def _joined(told: re.Match[str]) -> bool:
    """Digits before a power of ten stand before a times sign, and not without a power."""
    return (told["times"] is None) == (told["power"] is None)


def marked(text: str) -> tuple[Marked, ...]:
    """The numbers of a text.

    Raises:
        CarouselError: a mark is not closed, or names no recipe.
    """
    found = []
    for mark in MARK.finditer(text):
        recipe, *arguments = mark[2].split() or [""]
        if not recipe:
            raise CarouselError(f"{mark[0]} names no recipe: expected [[0.731|gate 1]].")
        found.append(Marked(mark[1], recipe, tuple(arguments)))
    rest = unmarked(text)
    if "[[" in rest or "]]" in rest:
        raise CarouselError(f"A mark is not complete in {rest!r}: expected [[0.731|gate 1]].")
    return tuple(found)


def unmarked(text: str) -> str:
    """The text as it is read."""
    return MARK.sub(r"\1", text)
