"""The lesson: the numbers on screen, the prose that sets the figures, its places, its print."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import reduce
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from carousel import theory
from carousel.learn import Lesson, LessonRequest, explore, lesson
from web_pages import Visit

SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
WORDS = {"exactly zero": "zero", "infinite": "infinite", "not a number": "nan"}
LOSSY = 0.06  # of a number written as a power of ten, with two digits


@pytest.fixture(scope="module")
def numbers() -> Lesson:
    return lesson(LessonRequest())


def opened(visit: Visit, part: str = "lesson", **how: Any) -> Page:
    """The lesson, once its networks are measured."""
    page = visit(part, **how)
    page.wait_for_selector("#lesson-takeaways", timeout=60_000)
    page.wait_for_load_state("networkidle")
    return page


def read(text: str) -> float | str:
    """A number as the page writes it."""
    text = text.replace("\u202f", "").replace("−", "-").removesuffix(" %")
    if text in WORDS:
        return WORDS[text]
    digits, _, power = text.partition(" × 10")
    return float(digits) * 10.0 ** int(power.translate(SUPERSCRIPTS) or 0)


def meant(value: Any, way: str) -> Any:
    """What the page should write for a number of the answer."""
    if isinstance(value, str):
        return value
    if way == "level":
        return 10**value
    if way == "times":
        return 10 ** abs(value)
    return 100 * value if way == "percent" else value


def test_every_number_of_the_prose_is_the_one_of_the_package(visit: Visit, numbers: Lesson) -> None:
    page = opened(visit)
    shown = page.locator("[data-of]").evaluate_all(
        "all => all.map(one => [one.dataset.of, one.dataset.as, one.textContent])"
    )
    assert len({of for of, _, _ in shown}) > 50
    for of, way, text in shown:
        value: Any = reduce(getattr, of.split("."), numbers)
        wanted, found = meant(value, way), read(text)
        if isinstance(wanted, str) or way == "whole":
            assert found == wanted, of
        else:
            assert found == pytest.approx(wanted, rel=LOSSY if "×" in text else 6e-3), of
    assert "undefined" not in page.inner_text("main")
    assert "NaN " not in page.inner_text("main").replace("infinite or NaN", "")


def cells(page: Page, name: str) -> list[list[str]]:
    """The body of a table, by the name of its region."""
    rows = page.get_by_role("region", name=name).locator("tbody tr")
    return [row.locator("td").all_inner_texts() for row in rows.all()]


def test_tables(visit: Visit, numbers: Lesson) -> None:
    page = opened(visit)
    for row, term in zip(
        cells(page, "The terms of one step, measured"), numbers.one_step.terms, strict=True
    ):
        wanted = (term.torch, term.bias_1, term.bias_3)
        assert [read(text) for text in row] == pytest.approx(wanted, rel=6e-3)
    for row, share in zip(
        cells(page, "Carousel and total by lag, measured"), numbers.one_step.shares, strict=True
    ):
        both = [10**level for level in (share.carousel, share.full) if isinstance(level, float)]
        assert [read(text) for text in row] == pytest.approx(both, rel=6e-3)
    assert cells(page, "Total and injected, measured") == [["4", "2", "1"], ["0", "0", "1"]]
    reaches = cells(page, "How far back, measured")
    assert reaches[2][:2] == [f"all {numbers.steps} steps", "does not decay"]
    assert reaches[0][1] == "2.27"


def part(page: Page, title: str) -> Locator:
    """The chapter of a figure, prose and all."""
    return page.locator(".beside", has=page.get_by_role("heading", name=title, exact=True))


def test_the_prose_sets_the_factors(visit: Visit) -> None:
    page = opened(visit)
    chapter = part(page, "The same factor at every step")
    summary = chapter.locator(".summary")
    expect(summary).to_contain_text("After 20 equal steps: 0.5 a step leaves 9.5 × 10⁻⁷")
    chapter.get_by_role("button", name="0.9", exact=True).click()
    chapter.get_by_role("button", name="100", exact=True).press("Enter")
    expect(chapter.get_by_role("button", name="0.9", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(summary).to_contain_text("After 100 equal steps: 0.9 a step leaves")
    text = re.search(r"0\.9 a step leaves ([^;]+);", summary.inner_text())
    assert text is not None
    assert read(text[1]) == pytest.approx(10 ** theory.log10_power(0.9, 100), rel=LOSSY)


@pytest.mark.parametrize(
    ("title", "button", "preset"),
    [
        ("Gradient of two simple networks by step", "3 times larger", "large"),
        ("Gradient of an RNN and an LSTM by step", "a bias of 3", "bias_3"),
        ("Gradient of an RNN and an LSTM by step", "in the figure of the 1997 cell", "original"),
    ],
)
def test_the_prose_sets_the_networks(
    visit: Visit, numbers: Lesson, title: str, button: str, preset: str
) -> None:
    page = opened(visit)
    chapter = part(page, title)
    before = chapter.locator(".summary").inner_text()
    chapter.get_by_role("button", name=button, exact=True).click()
    expect(chapter.locator(".summary")).not_to_have_text(before)
    settings = getattr(numbers.presets, preset)
    second = explore(settings).second
    levels = second.d_c or second.d_h
    first, last = levels[0], levels[-1]
    assert isinstance(first, float)
    assert isinstance(last, float)
    said = chapter.locator(".summary").inner_text().split(";")[1]
    found = re.findall(r"\d[\d.]*(?: × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?", said.partition("‖dL/d")[2])
    assert [read(text) for text in found[:2]] == pytest.approx([10**last, 10**first], rel=LOSSY)


def test_the_explorer_opens_with_the_same_settings(visit: Visit, numbers: Lesson) -> None:
    page = opened(visit)
    chapter = part(page, "Gradient of an RNN and an LSTM by step")
    chapter.get_by_role("button", name="a bias of 3", exact=True).click()
    link = chapter.get_by_role("link", name="Open in the explorer")
    expect(link).to_have_attribute("href", re.compile("forget_bias"))
    address = link.get_attribute("href") or ""
    asked = parse_qs(urlsplit(address.replace("#/", "/")).query)
    assert asked == {"v": ["1"], "second.forget_bias": ["3"]}
    assert asdict(numbers.presets.bias_3)["second"]["forget_bias"] == 3
    link.click()
    expect(page.locator("main h1")).to_have_text(re.compile("Explorer"))


def test_the_bias_moves_the_horizon(visit: Visit) -> None:
    page = opened(visit)
    chapter = part(page, "Horizon of a forget gate by its bias")
    chapter.get_by_role("button", name="1000", exact=True).click()
    wanted = theory.forget_gate(theory.chrono_bias(1000)).horizon_steps
    said = re.search(r"1/e in ([\d.]+) steps", chapter.locator(".summary").inner_text())
    assert said is not None
    assert float(said[1]) == pytest.approx(wanted, rel=1e-3)


def test_a_section_has_an_address(visit: Visit) -> None:
    page = opened(visit, "lesson?s=gates")
    expect(page.locator("#lesson-gates")).to_be_focused()
    expect(page.locator("#lesson-gates")).to_be_in_viewport()
    page.get_by_role("button", name="Next section").click()
    expect(page.locator("#lesson-fails")).to_be_focused()
    assert page.url.endswith("#/lesson?s=fails")
    page.get_by_role("link", name="A product of Jacobians").press("Enter")
    expect(page.locator("#lesson-product")).to_be_in_viewport()
    assert page.url.endswith("#/lesson?s=product")
    expect(page.get_by_text("3 of 16: A product of Jacobians")).to_be_visible()


def test_an_address_of_no_section_is_the_beginning(visit: Visit) -> None:
    page = opened(visit, "lesson?s=<nothing>")
    assert page.evaluate("window.scrollY") == 0


def test_the_bar_does_not_cover_what_has_the_focus(visit: Visit) -> None:
    page = opened(visit, height=700)
    page.locator("#lesson-takeaways").focus()
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        covered = page.evaluate(
            """() => { const box = document.activeElement.getBoundingClientRect();
                const bar = document.querySelector('.bar').getBoundingClientRect();
                return !document.activeElement.closest('.bar') && box.bottom <= bar.bottom; }"""
        )
        assert not covered


def test_printed_it_is_a_handout(visit: Visit) -> None:
    page = opened(visit)
    page.emulate_media(media="print")
    expect(page.locator("nav").first).to_be_hidden()
    expect(page.get_by_role("button", name="Next section")).to_be_hidden()
    expect(page.get_by_text("Open in the explorer").first).to_be_hidden()
    expect(page.get_by_text("Hold a pane of tinted glass")).to_be_visible()
    figures = page.locator("figure svg:visible")
    assert figures.count() >= 5
    assert page.pdf(format="A4")[:5] == b"%PDF-"


def test_symbols_have_the_colours_of_the_theme(visit: Visit) -> None:
    for mode in ("light", "dark"):
        page = opened(visit, mode=mode)
        for letter in "figoch":
            same = page.evaluate(
                """letter => { const probe = document.createElement('p');
                    probe.className = 'probe'; document.body.append(probe);
                    const token = getComputedStyle(document.documentElement)
                        .getPropertyValue(`--${letter}`).trim();
                    probe.style.color = token;
                    const wanted = getComputedStyle(probe).color; probe.remove();
                    const one = document.querySelector(`math .${letter}`);
                    return getComputedStyle(one).color === wanted; }""",
                letter,
            )
            assert same, (mode, letter)
