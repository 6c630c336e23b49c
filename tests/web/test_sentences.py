"""The part "Sentences": what is on screen is what the Python functions say."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from carousel.learn import AccuracySpec, SentenceSpec, agreement_accuracy, ask_sentence
from carousel.tasks import read_sentence
from web_pages import Visit

NAMES = {"rnn": "RNN", "lstm": "LSTM"}


def numbers(page: Page, title: str) -> list[list[str]]:
    """The table of a figure, opened where it is not."""
    figure = page.locator("figure").filter(has=page.get_by_role("heading", name=title))
    if figure.get_by_role("table").count() == 0:
        figure.get_by_text("Numbers", exact=True).click()
    figure.get_by_role("table").wait_for()
    rows = figure.locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


@pytest.mark.parametrize(
    ("query", "spec"),
    [
        ("", SentenceSpec()),
        (
            "?v=1&distance=25&attractors=4&number=plural&seed=7&budget=short",
            SentenceSpec(25, 4, "plural", 7, "short"),
        ),
        ("?v=1&own=the+cat+near+our+dogs+sits", SentenceSpec(own="the cat near our dogs sits")),
    ],
)
def test_what_is_shown_is_what_was_computed(visit: Visit, query: str, spec: SentenceSpec) -> None:
    page = visit(f"sentences{query}")
    answer = ask_sentence(spec)
    shown = page.locator(".sentence")
    expect(shown.locator(".subject .text")).to_have_text(
        next(word.text for word in answer.words if word.role == "subject")
    )
    expect(shown.locator(".verb .text")).to_have_text(answer.right_form)
    assert shown.locator(".attractor .text").all_inner_texts() == [
        word.text for word in answer.words if word.role == "attractor"
    ]
    expect(page.get_by_test_id("distance")).to_contain_text(f"{answer.distance} steps after")
    for one in answer.predictions:
        card = page.get_by_role("region", name=NAMES[one.cell], exact=True)
        expect(card).to_contain_text(f"prefers “{one.preferred}”")
        expect(card.locator("h3")).to_contain_text("right" if one.right else "wrong")
        expect(card).to_contain_text(f"{answer.right_form} {one.right_logit:.2f}")
        expect(card).to_contain_text(one.guesses[0].word)
    rnn, lstm = answer.predictions
    rows = numbers(page, "The gradient of the choice by word")
    assert [[float(cell) for cell in row[2:]] for row in rows] == [
        list(pair) for pair in zip(rnn.d_word, lstm.d_word, strict=True)
    ]
    page.get_by_label("of the state h").check()
    rows = numbers(page, "The total gradient")
    assert [[float(cell) for cell in row[2:]] for row in rows] == [
        list(pair) for pair in zip(rnn.d_h, lstm.d_h, strict=True)
    ]


def test_a_long_sentence_is_drawn_as_lines(visit: Visit) -> None:
    page = visit("sentences?v=1&distance=80&attractors=2")
    answer = ask_sentence(SentenceSpec(80, 2))
    rows = numbers(page, "The gradient of the choice by word")
    assert len(rows) == len(answer.words) - 1
    assert [float(row[1]) for row in rows] == list(answer.predictions[0].d_word)


def test_accuracy(visit: Visit) -> None:
    page = visit("sentences?v=1&budget=long")
    table = agreement_accuracy(AccuracySpec("long"))
    rnn, lstm = table.cells
    rows = numbers(page, "Accuracy by distance")
    assert [row[0] for row in rows] == [str(distance) for distance in range(1, 101)]
    for row, first, second in zip(rows, rnn.by_distance, lstm.by_distance, strict=True):
        told = [part for one in (first, second) for part in (one.value, one.low, one.high)]
        shown = [*row[1:4], *row[5:8]]
        assert [float(cell) for cell in shown] == pytest.approx(told, abs=6e-5)
        assert [row[4], row[8]] == [str(first.count), str(second.count)]
    further = [one for cell in table.cells for one in cell.others]
    for at, row in enumerate(rows):
        assert [float(one) for one in row[9:]] == pytest.approx(
            [one.by_distance[at] for one in further], abs=6e-5
        )
    luck = page.get_by_test_id("luck")
    lowest, highest = (100 * f(one.within for one in rnn.others) for f in (min, max))
    expect(luck).to_contain_text(
        f"the RNN shown, with over 99.9 % and {100 * rnn.beyond.value:.1f} %"
    )
    expect(luck).to_contain_text(f"is the best; the 4 others get {lowest:.0f} % to {highest:.0f} %")
    page.get_by_label("31 to 100").check()
    rows = numbers(page, "Accuracy by attractors")
    assert [float(row[1]) for row in rows] == pytest.approx(
        [one.value for one in rnn.by_attractors_beyond], abs=6e-5
    )


def test_sliders_and_another_sentence(visit: Visit) -> None:
    page = visit("sentences")
    first = page.locator(".sentence").inner_text()
    page.get_by_role("button", name="Another sentence").click()
    expect(page.locator(".sentence")).not_to_have_text(first)
    assert f"seed={SentenceSpec().seed + 1}" in page.url
    page.get_by_label("Distance, typed").fill("4")
    page.get_by_label("Distance, typed").press("Enter")
    expect(page.get_by_test_id("distance")).to_contain_text("4 steps after")
    # Two attractors do not fit into four steps: the slider gives way.
    expect(page.get_by_label("Attractors, typed")).to_have_value("1")
    expect(page.locator(".sentence .attractor")).to_have_count(1)
    page.reload()
    expect(page.get_by_test_id("distance")).to_contain_text("4 steps after")


def test_a_sentence_of_ones_own(visit: Visit) -> None:
    page = visit("sentences")
    page.get_by_label("One of your own").check()
    page.get_by_role("button", name="Clear").click()
    for word in ("the", "dogs", "near", "my", "cat"):
        page.get_by_role("button", name=word, exact=True).click()
    page.get_by_role("group", name="the verb").get_by_role("button", name="sleep").click()
    expect(page.locator(".sentence .verb .text")).to_have_text("sleep")
    expect(page.locator(".sentence .attractor .text")).to_have_text("cat")
    assert "own=the+dogs+near+my+cat+sleep" in page.url
    page.get_by_role("button", name="Take back the last word").click()
    expect(page.get_by_label("The words, with the verb")).to_have_value("the dogs near my cat")
    page.get_by_label("The words, with the verb").fill("the dogs near my platypus")
    refused = page.get_by_text("'platypus', is none of the grammar's")
    expect(refused).to_be_visible()
    assert len(refused.inner_text()) < 160  # not every noun
    expect(page.locator(".sentence .verb .text")).to_have_text("sleep")
    page.get_by_role("button", name="bird", exact=True).click()  # in its place
    expect(page.get_by_label("The words, with the verb")).to_have_value("the dogs near my bird")


def test_a_horizon_is_said_where_there_is_one(visit: Visit) -> None:
    spec = SentenceSpec(own="our child that likes your friends sings", budget="long")
    for query, given in (("", SentenceSpec()), (f"?v=1&own={spec.own.replace(' ', '+')}", spec)):
        page = visit(f"sentences{query}")
        expect(page.get_by_test_id("meaning")).to_contain_text("sizes are no ranking")
        said = [one.horizon for one in ask_sentence(given).predictions if one.horizon]
        assert page.get_by_test_id("horizons").locator("li").count() == len(said)


def test_the_address_is_followed(visit: Visit) -> None:
    """Also where a link within the page, or the browser's own buttons, change it."""
    page = visit("sentences?v=1&distance=25&seed=7&which=d_h")
    distance = page.get_by_role("slider", name="Distance", exact=True)
    assert distance.input_value() == "25"
    page.evaluate("location.hash = '#/sentences?v=1&distance=5&attractors=0&longer=1'")
    page.wait_for_function("() => document.querySelector('main input[type=range]').value === '5'")
    assert page.get_by_role("radio", name="of each word").is_checked()
    assert page.get_by_role("radio", name="31 to 100").is_checked()
    page.go_back()
    page.wait_for_function("() => document.querySelector('main input[type=range]').value === '25'")
    assert page.get_by_role("radio", name="of the state h").is_checked()


def test_a_sentence_of_the_training_is_said_to_be_one(visit: Visit) -> None:
    for text in ("the cat near the dogs sits", "the cat near our dogs sits"):
        page = visit(f"sentences?v=1&own={text.replace(' ', '+')}")
        trained = read_sentence(text.split()).part == "training"
        said = page.locator("main p").first.inner_text()
        assert ("may have met" in said) == trained
        assert ("in neither one’s training" in said) == (not trained)
