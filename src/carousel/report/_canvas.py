"""Lines drawn with characters: 2 x 4 braille dots in each, or one letter where only ASCII works."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Canvas", "sample"]

BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column
# How each series is dashed: so many dots on, so many off, along the line.
DASHES = ((1, 0), (1, 2), (5, 3), (2, 2), (8, 4), (1, 4), (4, 1), (3, 5))
ASCII_MARKS = "*.+=~:#%"  # none a letter: letters name the lines
UNICODE_SAMPLES = ("────", "····", "─ ─ ", "- - ", "── ─", "· · ", "──·─", "─  ─")


def sample(series: int, *, braille: bool) -> str:
    """A short piece of a series' line, for the legend."""
    if braille:
        return UNICODE_SAMPLES[series % len(UNICODE_SAMPLES)]
    return ASCII_MARKS[series % len(ASCII_MARKS)] * 4


class Canvas:
    """A field of characters on which lines are drawn; each keeps the last series drawn there.

    Positions are fractions: x from 0 at the left to 1, y from 0 at the bottom to 1.
    """

    def __init__(self, columns: int, rows: int, *, braille: bool) -> None:
        self.columns = columns
        self.rows = rows
        self.braille = braille
        self._across, self._down = (2, 4) if braille else (1, 1)
        self._dots = [[0] * columns for _ in range(rows)]
        self._marks = [[" "] * columns for _ in range(rows)]
        self._owner: list[list[int | None]] = [[None] * columns for _ in range(rows)]

    def line(self, points: Sequence[tuple[float, float | None]], series: int) -> None:
        """Draw a line through ``points`` (x, y), broken where y is None."""
        on, off = DASHES[series % len(DASHES)] if self.braille else (1, 0)
        drawn = 0
        before: tuple[int, int] | None = None
        for x, y in points:
            if y is None:
                before = None
                continue
            here = self._dot(x, y)
            for dot in segment(before, here):
                if drawn % (on + off) < on:
                    self._set(dot, series)
                drawn += 1
            before = here

    def letter(self, x: float, y: float, letter: str, series: int) -> None:
        """Put a letter at a point, or above or below it where another one is."""
        column, row = self._cell(self._dot(x, y))
        for shift in (0, -1, 1, -2, 2, -3, 3):
            if 0 <= row + shift < self.rows and not self._marks[row + shift][column].isalpha():
                self._marks[row + shift][column] = letter
                self._owner[row + shift][column] = series
                return

    def cells(self, row: int) -> list[tuple[str, int | None]]:
        """One row from the top: its characters, each with the series that it belongs to."""
        return [
            (
                mark if mark != " " or not dots else chr(BRAILLE + dots),
                owner,
            )
            for mark, dots, owner in zip(
                self._marks[row], self._dots[row], self._owner[row], strict=True
            )
        ]

    def _dot(self, x: float, y: float) -> tuple[int, int]:
        width, height = self.columns * self._across, self.rows * self._down
        return min(width - 1, int(x * width)), round((1 - y) * (height - 1))

    def _cell(self, dot: tuple[int, int]) -> tuple[int, int]:
        return dot[0] // self._across, dot[1] // self._down

    def _set(self, dot: tuple[int, int], series: int) -> None:
        column, row = self._cell(dot)
        if self.braille:
            self._dots[row][column] |= DOTS[dot[1] % 4][dot[0] % 2]
        else:
            self._marks[row][column] = ASCII_MARKS[series % len(ASCII_MARKS)]
        self._owner[row][column] = series


def segment(start: tuple[int, int] | None, end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one to another without the first, or the end alone where there is no start."""
    if start is None:
        return [end]
    across, down = end[0] - start[0], end[1] - start[1]
    length = max(abs(across), abs(down), 1)
    return [
        (start[0] + round(across * i / length), start[1] + round(down * i / length))
        for i in range(1, length + 1)
    ]
