"""Lines drawn with characters."""

from __future__ import annotations

import itertools

import pytest

from carousel.report._canvas import ASCII_MARKS, DASHES, Canvas, sample, segment


def drawn(canvas: Canvas) -> list[str]:
    return ["".join(mark for mark, _ in canvas.cells(row)) for row in range(canvas.rows)]


def test_a_level_line_at_the_bottom_and_at_the_top() -> None:
    canvas = Canvas(4, 2, braille=True)
    canvas.line([(0.0, 0.0), (0.99, 0.0)], 0)
    canvas.line([(0.0, 1.0), (0.99, 1.0)], 0)
    assert drawn(canvas) == ["⠉⠉⠉⠉", "⣀⣀⣀⣀"]


def test_a_line_breaks_where_there_is_no_number() -> None:
    canvas = Canvas(6, 1, braille=False)
    canvas.line([(0.0, 0.0), (0.2, 0.0), (0.5, None), (0.84, 0.0)], 0)
    assert drawn(canvas) == ["**   *"]


def test_lines_are_told_apart_without_colour() -> None:
    assert len(set(DASHES)) == len(DASHES)
    assert len(set(ASCII_MARKS)) == len(ASCII_MARKS)
    for braille in (True, False):
        assert len({sample(index, braille=braille) for index in range(8)}) == 8
    pictures = set()
    for series in range(8):
        canvas = Canvas(30, 1, braille=True)
        canvas.line([(0.0, 0.0), (0.99, 0.0)], series)
        pictures.add(drawn(canvas)[0])
    assert len(pictures) == 8


def test_letters_stand_beside_each_other_not_on_each_other() -> None:
    canvas = Canvas(3, 3, braille=True)
    canvas.letter(0.5, 0.5, "A", 0)
    canvas.letter(0.5, 0.5, "B", 1)
    assert sorted("".join(drawn(canvas)).split()) == ["A", "B"]


def test_each_cell_knows_its_series() -> None:
    canvas = Canvas(2, 1, braille=True)
    canvas.line([(0.0, 0.0)], 0)
    canvas.line([(0.9, 0.0)], 3)
    assert [owner for _, owner in canvas.cells(0)] == [0, 3]


@pytest.mark.parametrize("end", [(5, 0), (0, 5), (-4, 3), (0, 0)])
def test_segments_have_no_gaps(end: tuple[int, int]) -> None:
    dots = [(0, 0), *segment((0, 0), end)]
    assert dots[-1] == end
    for a, b in itertools.pairwise(dots):
        assert max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= 1
