"""The page from a folder, without a server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from carousel.learn import Network, Nothing, PowerRequest, Settings, explore
from carousel.serve import export
from carousel.serve._export import canonical, number

PARTS = ("lesson", "explorer", "cell", "sentences", "quiz", "model")
SMALL = Settings(Network("gru", hidden=5, gain=0.5), Network(hidden=3, forget_bias=2.0), 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("page") / "the lesson"
    asked = ("explore", "horizons")  # what the first figure of the explorer needs
    requests = [(name, one) for name in asked for one in (Settings(), SMALL)]
    export(where, [*requests, ("presets", Nothing()), ("power", PowerRequest())])
    return where


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the command writes it."""
    where = tmp_path_factory.mktemp("page") / "whole"
    export(where)
    return where


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Whatever the page complains about, and any request beyond the folder, fails the test."""
    complaints: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda one: complaints.append(f"failed: {one.url}"))
    page.on(
        "request",
        lambda one: None if one.url.startswith("file:") else complaints.append(one.url),
    )
    yield page
    context.close()
    assert complaints == []


def address(folder: Path, part: str) -> str:
    return f"{(folder / 'index.html').as_uri()}#/{part}"


@pytest.mark.parametrize("part", PARTS)
def test_every_part_opens(page: Page, folder: Path, part: str) -> None:
    page.goto(address(folder, part))
    page.locator("main h1").wait_for()
    page.wait_for_timeout(300)


@pytest.mark.parametrize("part", PARTS[:-1])
def test_every_part_is_whole(page: Page, whole: Path, part: str) -> None:
    page.goto(address(whole, part))
    page.locator("main :is(svg, button)").first.wait_for()
    page.wait_for_timeout(500)
    assert page.locator("[role=alert]").count() == 0
    assert "without a server" not in page.locator("main").inner_text()
    assert page.locator("header nav a").count() == len(PARTS) - 1  # no model without a server


def test_presets_and_links_of_the_quiz_are_there(page: Page, whole: Path) -> None:
    page.goto(address(whole, "explorer"))
    links = page.locator("main a[href^='#/explorer?']")
    links.first.wait_for()
    for at in range(links.count()):
        links.nth(at).click()
        page.wait_for_timeout(100)
        assert "without a server" not in page.locator("main").inner_text()


def test_what_was_computed_is_drawn(page: Page, folder: Path) -> None:
    page.goto(address(folder, "explorer"))
    page.locator("main svg path").first.wait_for()
    assert page.locator("[role=alert]").count() == 0


def test_what_was_not_computed_is_said(page: Page, folder: Path) -> None:
    page.goto(address(folder, "explorer?v=1&steps=123"))
    page.get_by_text("carousel learn").first.wait_for()
    assert "exported without a server" in page.locator("main").inner_text()


def test_the_page_finds_what_python_wrote(page: Page, folder: Path) -> None:
    page.goto(address(folder, "lesson"))
    found = page.evaluate("key => window.carouselAnswers[key]", f"explore {canonical(SMALL)}")
    assert tuple(found["second"]["d_h"]) == explore(SMALL).second.d_h


def test_numbers_and_texts_are_those_of_json_stringify(page: Page, folder: Path) -> None:
    page.goto(address(folder, "lesson"))
    chance = random.Random(0)  # noqa: S311 - numbers for a test
    values = [chance.uniform(-1, 1) * 10.0 ** chance.randint(-320, 300) for _ in range(2000)]
    values += [round(value, 3) for value in (chance.uniform(-10, 10) for _ in range(500))]
    values += [float(10**power) for power in range(25)] + [10.0**-power for power in range(12)]
    written = page.evaluate("values => values.map(one => JSON.stringify(one))", values)
    assert [number(value) for value in values] == written
    texts = ["é", "\u2028", 'a"b\\c\n\x1f\x7f', "\U0001f3a0"]
    assert page.evaluate("v => JSON.stringify(v)", texts) == canonical(texts)
