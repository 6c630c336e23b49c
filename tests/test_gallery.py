"""The script of the gallery runs, and the page in the repository is what it writes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
mpl.use("agg")


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("carousel_gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


def test_the_script_at_a_tiny_size(gallery: ModuleType, tmp_path: Path) -> None:
    layers = {
        loss: gallery.measured(loss, hidden=3, batch=2) for loss in (gallery.LAST, gallery.EVERY)
    }
    text = gallery.page(layers)
    assert "3 units each, read 2 handwritten" in text
    for picture in gallery.PICTURES:
        gallery.draw(picture, layers[picture.loss], tmp_path)
        drawn = tmp_path / f"{picture.file}.png"
        assert drawn.read_bytes().startswith(b"\x89PNG")
        assert f"gallery/{picture.file}.png" in text
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("log10", "written"),
    [(-13.22, "6.0e-14"), (-0.68, "0.21"), (-400.0, "1.0e-400"), (-5.0001, "1.0e-5"), (2.3, "200")],
)
def test_numbers_of_any_size(gallery: ModuleType, log10: float, written: str) -> None:
    assert gallery.power(log10) == written


def test_the_page_shows_every_picture_that_is_there_and_no_other() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert "`make gallery`" in text
    named = re.findall(r"\(gallery/(\w+\.png)\)", text)
    there = [path.name for path in (DOCS / "gallery").iterdir()]
    assert sorted(named) == sorted(there)
    assert sum(path.stat().st_size for path in (DOCS / "gallery").iterdir()) < 1_500_000


def test_the_numbers_of_the_page_are_those_measured_here(gallery: ModuleType) -> None:
    """In float64 and from a fixed seed, every machine comes to the same page."""
    layers = {loss: gallery.measured(loss) for loss in (gallery.LAST, gallery.EVERY)}
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page(layers)
