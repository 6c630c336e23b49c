"""Standard output is kept for the command's own answer."""

from __future__ import annotations

import os
import sys

import pytest

from carousel.cli._stdout import foreign_output_to_stderr


def test_prints_and_programs_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("before\n")
    with foreign_output_to_stderr():
        sys.stdout.write("from Python\n")
        os.write(1, b"from below\n")
    sys.stdout.write("after\n")
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert out == "before\nafter\n"
    assert sorted(err.splitlines()) == ["from Python", "from below"]


def test_it_is_undone_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"), foreign_output_to_stderr():
        fail()
    sys.stdout.write("after\n")
    sys.stdout.flush()
    assert capfd.readouterr().out == "after\n"
