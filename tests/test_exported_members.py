"""A package's ``__init__`` holds imports and a sorted ``__all__``, and the two agree."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import carousel

PACKAGES = ["carousel"] + [
    found.name
    for found in pkgutil.walk_packages(carousel.__path__, prefix="carousel.")
    if found.ispkg
]


def imported_names(name: str) -> set[str]:
    """Return the public names that an ``__init__`` imports from inside carousel."""
    package = importlib.import_module(name)
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("carousel")
        for alias in node.names
        if not (alias.asname or alias.name).startswith("_")
    }


def order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    return (not name.isupper(), name[0].islower(), name)


def test_the_packages_are_found() -> None:
    assert {"carousel.cells", "carousel.cells.lstm", "carousel.flow"} <= set(PACKAGES)


# The command line is run, not imported from: its __init__ builds the program out of its commands.
PROGRAMS = {"carousel.cli": {"app", "main"}}


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_and_equals_what_is_there(name: str) -> None:
    package = importlib.import_module(name)
    exported = getattr(package, "__all__", [])
    assert list(exported) == sorted(exported, key=order)
    assert set(exported) == PROGRAMS.get(name, imported_names(name))
    for member in exported:
        assert getattr(package, member) is not None
    assert set(exported) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_modules_are_private(name: str) -> None:
    package = importlib.import_module(name)
    modules = [found.name for found in pkgutil.iter_modules(package.__path__) if not found.ispkg]
    assert all(module.startswith("_") for module in modules), modules


def test_an_unknown_member_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = carousel.nonsense
