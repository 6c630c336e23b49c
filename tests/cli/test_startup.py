"""The command answers at once: what is heavy loads only where it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from carousel import __version__

HEAVY = ("torch", "numpy", "rich", "jinja2", "sklearn", "asyncio")
PROBE = f"""
import sys
sys.argv = ["carousel", *sys.argv[1:]]
from carousel.cli import main
try:
    main()
finally:
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    print("loaded:", loaded, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["demo", "--help"], ["check", "--help"], []]
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False
    )
    assert "loaded: []" in done.stderr
    assert done.returncode == 0 or not arguments


def test_python_m_carousel_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "carousel", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"carousel {__version__}\n"


def test_help_names_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "carousel", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("demo", "check", "--version"):
        assert command in done.stdout


def test_wrong_usage_leaves_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "carousel", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert not done.stdout
