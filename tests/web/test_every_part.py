"""What holds for every part of the page, at every width, in every mode."""

from __future__ import annotations

import pytest

from web_pages import MODES, Visit, violations

PARTS = ("lesson", "explorer", "cell", "sentences", "quiz", "model")
WIDTHS = (1280, 390, 320)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("part", PARTS)
def test_nothing_to_complain_about(visit: Visit, part: str, width: int, mode: str) -> None:
    page = visit(part, width=width, mode=mode)
    assert page.locator("main h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []


@pytest.mark.parametrize("part", PARTS)
def test_the_keyboard_reaches_everything(visit: Visit, part: str) -> None:
    page = visit(part)
    page.evaluate("document.activeElement?.blur()")
    reachable = page.evaluate(
        """() => [...document.querySelectorAll(
            'a[href], button, input, select, textarea, summary, [tabindex="0"]')]
            .filter(one => !one.disabled && one.checkVisibility() &&
                one.getBoundingClientRect().width > 0 && one.tabIndex >= 0 &&
                !(one.type === 'radio' && !one.checked && document.querySelector(
                    `input[type=radio][name="${one.name}"]:checked`))).length"""
    )
    seen = set()
    for _ in range(reachable + 5):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                """() => { const one = document.activeElement;
                    if (one === document.body) return 'body';
                    one.dataset.walked ??= String(Math.random());
                    return one.dataset.walked; }"""
            )
        )
    assert len(seen - {"body"}) >= reachable


@pytest.mark.parametrize("part", PARTS)
def test_targets_are_large_enough(visit: Visit, part: str) -> None:
    page = visit(part, width=390)
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input, summary, nav a')]
            .filter(one => one.checkVisibility())
            .map(one => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
            .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24))
            .map(([html, box]) => `${html}: ${box.width} x ${box.height}`)"""
    )
    assert small == []
