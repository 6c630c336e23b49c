"""The quiz in the browser: whole attempts, and what is kept of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from carousel.learn.quiz import Asked, Question, bank, draw
from web_pages import MODES, Visit

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
KEY = "carousel.quiz"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def attempt(seed: int) -> list[tuple[Question, Asked]]:
    """What Python draws, which is what the page has to ask."""
    return [(bank().question(one.question), one) for one in draw(bank(), bank().drawn, seed)]


def spoken(text: str) -> str:
    """A text as the page shows it, without the marks of indices, exponents and code."""
    parts = text.split("`")  # every other one is code
    for at in range(0, len(parts), 2):
        plain = re.sub(r"[_^]\{([^}]*)\}", lambda one: one[1].replace("-", "−"), parts[at])
        parts[at] = re.sub(r"(?<=[A-Za-z])_(?=[A-Za-z0-9])", "", plain)
    return "".join(parts)


def place(question: Question, asked: Asked, *, right: bool) -> int:
    """Where a right or a wrong option stands."""
    return [question.options[index].right for index in asked.order].index(right)


def start(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Start ")).click()


def answer(page: Page, question: Question, asked: Asked, *, right: bool) -> None:
    expect(page.locator("legend")).to_have_text(spoken(question.text))
    shown = page.locator("label.option").all_inner_texts()
    assert [" ".join(one.split()) for one in shown] == [
        spoken(question.options[index].text) for index in asked.order
    ]
    page.get_by_role("radio").nth(place(question, asked, right=right)).check()
    page.get_by_role("button", name="Check the answer").click()


def further(page: Page) -> None:
    page.get_by_role("button", name=re.compile("Next question|See the result")).click()


def run(page: Page, seed: int, right: int) -> None:
    """A whole attempt, the first so many of it right."""
    for at, (question, asked) in enumerate(attempt(seed)):
        answer(page, question, asked, right=at < right)
        further(page)


@pytest.mark.parametrize(("right", "verdict"), [(7, "✓ Passed."), (6, "✗ Not passed.")])
def test_seven_pass_and_six_do_not(visit: Visit, right: int, verdict: str) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    run(page, 3, right)
    expect(page.locator("h2").first).to_have_text(f"{right} of 10 right")
    expect(page.locator(".verdict")).to_have_text(f"{verdict} 7 right answers were needed.")
    page.get_by_role("button", name="To the overview").click()
    told = "✓ passed" if right == 7 else "not passed yet"
    expect(page.locator(".scores")).to_have_text(f"1 attempt, best {right} of 10: {told}.")


@pytest.mark.parametrize("right", [True, False])
def test_each_option_is_answered(visit: Visit, right: bool) -> None:
    page = visit("quiz?v=1&seed=4")
    start(page)
    question, asked = attempt(4)[0]
    answer(page, question, asked, right=right)
    expect(page.get_by_role("heading", level=3)).to_be_focused()
    expect(page.get_by_role("heading", level=3)).to_have_text(
        "✓ Right." if right else "✗ Not right."
    )
    texts = page.locator(".answers li").all_inner_texts()
    assert len(texts) == 4
    for index, text in zip(asked.order, texts, strict=True):
        assert spoken(question.options[index].feedback) in " ".join(text.split())
    marks = page.locator(".told").all_inner_texts()
    if right:
        assert marks == ["✓ Your answer, and the right one"]
    else:
        assert sorted(marks) == ["✓ The right answer", "✗ Your answer"]
    assert page.locator("dd").first.inner_text() == spoken(question.source)
    link = page.get_by_role("link", name=spoken(question.shows))
    assert link.get_attribute("href") == f"#/{question.link}"
    expect(page.get_by_role("status")).to_have_text(f"{int(right)} of 1 right so far.")


def test_nothing_chosen_is_no_answer(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=4")
    start(page)
    page.get_by_role("button", name="Check the answer").click()
    expect(page.get_by_role("alert")).to_have_text("Choose one of the 4 options first.")
    page.get_by_role("radio").first.check()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_review_tells_all(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=5")
    start(page)
    run(page, 5, 8)
    rows = page.locator(".review > li")
    assert rows.count() == 10
    for at, (question, asked) in enumerate(attempt(5)):
        text = " ".join(rows.nth(at).inner_text().split())
        mine = question.options[asked.order[place(question, asked, right=at < 8)]]
        correct = next(one for one in question.options if one.right)
        for part in (question.text, mine.text, mine.feedback, correct.text, correct.feedback):
            assert spoken(part) in text
        assert ("✗ Your answer is wrong" in text) is (at >= 8)
        assert spoken(question.source) in text
        assert rows.nth(at).get_by_role("link").get_attribute("href") == f"#/{question.link}"


def test_a_retake_asks_and_orders_anew(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=5")
    start(page)
    run(page, 5, 10)
    page.get_by_role("button", name="Try new questions").click()
    assert draw(bank(), 10, 6) != draw(bank(), 10, 5)
    run(page, 6, 10)  # it is what the next seed draws
    expect(page.locator("h2").first).to_have_text("10 of 10 right")


def test_without_a_seed_each_attempt_is_another(visit: Visit) -> None:
    page = visit("quiz")
    seen = set()
    for _ in range(3):
        start(page)
        kept = json.loads(page.evaluate(f"localStorage.getItem('{KEY}')"))
        seen.add(json.dumps(kept["current"]["asked"]))
        page.get_by_role("button", name="Leave this attempt").click()
    assert len(seen) == 3


def test_what_was_missed_is_asked_again(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=5")
    start(page)
    run(page, 5, 8)
    missed = {question.id: question for question, _ in attempt(5)[8:]}
    page.get_by_role("button", name="Retake the 2 you missed").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Question 1 of 2")
    asked = json.loads(page.evaluate(f"localStorage.getItem('{KEY}')"))["current"]["asked"]
    assert {one["question"] for one in asked} == set(missed)
    for one in asked:
        again = Asked(one["question"], tuple(one["order"]))
        answer(page, missed[one["question"]], again, right=True)
        further(page)
    expect(page.locator(".verdict")).to_have_text(re.compile("^Practice"))
    page.get_by_role("button", name="To the overview").click()
    expect(page.locator(".scores")).to_have_text(
        "1 attempt, best 8 of 10: ✓ passed. 1 practice round."
    )
    counts = page.locator(".count").all_inner_texts()
    assert sum(int(one.split()[0]) for one in counts) == 10  # all ten are mastered now


@pytest.mark.parametrize(
    ("address", "button"),
    [
        ("quiz?v=1&seed=2", "Practise: The gates"),
        ("quiz?v=1&seed=2&objective=gates", "Start: The gates"),
    ],
)
def test_an_objective_is_practised(visit: Visit, address: str, button: str) -> None:
    page = visit(address)
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Question 1 of 6")
    expect(page.locator(".about")).to_have_text("The gates")


def test_a_reload_keeps_all(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    (first, asked), (second, then) = attempt(3)[:2]
    answer(page, first, asked, right=True)
    page.reload()
    expect(page.get_by_role("heading", level=3)).to_have_text("✓ Right.")
    further(page)
    page.reload()
    answer(page, second, then, right=False)
    further(page)
    page.reload()
    expect(page.get_by_role("heading", level=2)).to_have_text("Question 3 of 10")
    expect(page.get_by_role("status")).to_have_text("1 of 2 right so far.")
    page.get_by_role("button", name="Leave this attempt").click()
    page.reload()
    name = next(one.name for one in bank().objectives if one.id == first.objective)
    expect(page.locator("li", has_text=name).locator(".count")).to_have_text(re.compile("^1 of "))


def test_a_link_leads_away_and_back(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    question, asked = attempt(3)[0]
    answer(page, question, asked, right=True)
    page.get_by_role("link", name=spoken(question.shows)).click()
    expect(page.locator("main h1")).not_to_have_text("Quiz")
    page.go_back()
    expect(page.get_by_role("heading", level=3)).to_have_text("✓ Right.")


def test_progress_is_erased_only_when_confirmed(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    run(page, 3, 9)
    page.get_by_role("button", name="To the overview").click()
    page.get_by_role("button", name="Erase…").click()
    expect(page.get_by_role("dialog", name="Erase your progress?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Erase…")).to_be_focused()
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator(".scores")).to_contain_text("1 attempt")
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("button", name="Erase it").click()
    expect(page.locator(".scores")).to_have_text("No attempt yet.")
    assert page.evaluate(f"localStorage.getItem('{KEY}')") is None
    page.reload()
    expect(page.locator(".scores")).to_have_text("No attempt yet.")


def test_progress_moves_by_a_file(visit: Visit, tmp_path: Path) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    run(page, 3, 7)
    page.get_by_role("button", name="To the overview").click()
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save to a file").click()
    assert caught.value.suggested_filename == "carousel-quiz.json"
    saved = tmp_path / "saved.json"
    caught.value.save_as(saved)
    told = json.loads(saved.read_text(encoding="utf-8"))
    assert told["version"] == 1
    assert told["scores"] == [{"kind": "all", "right": 7, "of": 10}]

    other = visit("quiz")
    expect(other.locator(".scores")).to_have_text("No attempt yet.")
    other.get_by_label("Read from a file").set_input_files(saved)
    expect(other.locator(".scores")).to_have_text("1 attempt, best 7 of 10: ✓ passed.")
    broken = tmp_path / "broken.json"
    broken.write_text('{"version": 99}', encoding="utf-8")
    other.get_by_label("Read from a file").set_input_files(broken)
    expect(other.get_by_text("broken.json was not read")).to_be_visible()
    expect(other.locator(".scores")).to_have_text("1 attempt, best 7 of 10: ✓ passed.")


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"version": 1, "scores": 3}'])
def test_what_cannot_be_read_is_told(visit: Visit, text: str) -> None:
    page = visit("lesson")
    page.evaluate("([key, text]) => localStorage.setItem(key, text)", [KEY, text])
    page.goto(page.url.split("#")[0] + "#/quiz")
    expect(page.get_by_role("alert")).to_contain_text("cannot be read")
    assert page.evaluate(f"localStorage.getItem('{KEY}')") == text  # until an attempt begins
    start(page)
    expect(page.get_by_role("heading", level=2)).to_have_text("Question 1 of 10")


def test_without_storage_a_visit_still_works(visit: Visit) -> None:
    page = visit("lesson")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    page.goto(page.url.split("#")[0] + "#/quiz?v=1&seed=3")
    start(page)
    run(page, 3, 7)
    page.get_by_role("button", name="To the overview").click()
    expect(page.locator(".note")).to_contain_text("keeps nothing")
    page.get_by_role("link", name="Lesson", exact=True).click()
    page.get_by_role("link", name="Quiz", exact=True).click()
    expect(page.locator(".scores")).to_contain_text("best 7 of 10")


def test_a_storage_that_is_full_takes_no_answer_back(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    (first, asked), *others = attempt(3)
    answer(page, first, asked, right=True)  # the last one that is kept
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    further(page)
    for question, order in others:
        answer(page, question, order, right=False)
        further(page)
    page.get_by_role("link", name="Lesson", exact=True).click()
    page.get_by_role("link", name="Quiz", exact=True).click()
    expect(page.locator("h2").first).to_have_text("1 of 10 right")
    page.get_by_role("button", name="To the overview").click()
    expect(page.locator(".scores")).to_contain_text("best 1 of 10")
    expect(page.locator(".note")).to_contain_text("keeps nothing more")
    page.get_by_role("link", name="Lesson", exact=True).click()
    page.get_by_role("link", name="Quiz", exact=True).click()
    expect(page.locator(".note")).to_contain_text("keeps nothing more")
    page.reload()  # another visit: it has what fitted
    expect(page.get_by_role("heading", level=3)).to_have_text("✓ Right.")


def test_two_tabs_show_one_attempt(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=3")
    start(page)
    other = page.context.new_page()
    other.goto(page.url)
    (first, asked), (second, then), (third, last) = attempt(3)[:3]
    other.get_by_role("radio").nth(
        place(first, asked, right=False)
    ).check()  # and no more than that
    answer(page, first, asked, right=True)
    expect(other.get_by_role("heading", level=3)).to_have_text("✓ Right.")
    further(page)
    expect(other.get_by_role("heading", level=2)).to_have_text("Question 2 of 10")
    expect(other.locator("input:checked")).to_have_count(0)  # it was chosen for the first question
    answer(other, second, then, right=True)
    further(other)
    answer(page, third, last, right=False)
    kept = json.loads(page.evaluate(f"localStorage.getItem('{KEY}')"))["current"]["picked"]
    assert kept == [
        order.order[place(question, order, right=right)]
        for (question, order), right in zip(attempt(3), (True, True, False), strict=False)
    ]
    page.get_by_role("button", name="Next question").click()
    page.get_by_role("button", name="Leave this attempt").click()
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("button", name="Erase it").click()
    expect(other.locator(".scores")).to_have_text("No attempt yet.")


def test_the_keys_1_to_4_choose_while_the_options_have_the_focus(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=8")
    start(page)
    heading = page.get_by_role("heading", level=2)
    expect(heading).to_be_focused()
    page.keyboard.press("3")  # the focus is not among the options
    expect(page.locator("input:checked")).to_have_count(0)
    page.keyboard.press("Tab")
    radios = page.get_by_role("radio")
    for key in (2, 4, 1, 3):
        page.keyboard.press(str(key))
        expect(radios.nth(key - 1)).to_be_checked()
        expect(radios.nth(key - 1)).to_be_focused()
    for other in ("5", "0", "Control+1", "Alt+2"):
        page.keyboard.press(other)
        expect(radios.nth(2)).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("1")  # on the button
    expect(radios.nth(2)).to_be_checked()
    question, asked = attempt(8)[0]
    page.get_by_role("radio").nth(2).focus()
    page.keyboard.press(str(place(question, asked, right=True) + 1))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=3)).to_have_text("✓ Right.")


def test_a_whole_attempt_by_keyboard(visit: Visit) -> None:
    page = visit("quiz?v=1&seed=8")
    page.evaluate("document.querySelector('main h1').focus()")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for question, asked in attempt(8):
        heading = page.get_by_role("heading", level=2)
        expect(heading).to_be_focused()
        page.keyboard.press("Tab")  # to the first option
        page.keyboard.press("Space")
        for _ in range(place(question, asked, right=True)):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=3)).to_be_focused()
        expect(page.get_by_role("heading", level=3)).to_have_text("✓ Right.")
        page.keyboard.press("Tab")  # to the link
        page.keyboard.press("Tab")  # to the next question
        page.keyboard.press("Enter")
    expect(page.locator("h2").first).to_be_focused()
    expect(page.locator("h2").first).to_have_text("10 of 10 right")
    expect(page.locator(".verdict")).to_contain_text("✓ Passed.")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", [1280, 320])
def test_nothing_to_complain_about_on_the_way(visit: Visit, width: int, mode: str) -> None:
    page = visit("quiz?v=1&seed=5", width=width, mode=mode)

    def look() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = page.evaluate("tags => axe.run({runOnly: tags})", TAGS)
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []

    page.evaluate(AXE.read_text(encoding="utf-8"))
    start(page)
    look()
    (first, asked), *others = attempt(5)
    answer(page, first, asked, right=False)
    look()
    further(page)
    for question, order in others:
        answer(page, question, order, right=True)
        further(page)
    look()
    page.get_by_role("button", name="To the overview").click()
    page.get_by_role("button", name="Erase…").click()
    look()
