"""The explorer on screen: its numbers are the package's, and its controls do what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from carousel.learn import (
    CodeRequest,
    Curves,
    MatrixRequest,
    Network,
    PowerRequest,
    Settings,
    code,
    explore,
    horizons,
    matrix,
    power,
    products,
    spectra,
)
from web_pages import Visit, violations

SETTINGS = Settings(
    Network("lstm", 8, forget_bias=1.5, gain=1.25),
    Network("gru", 5, init="orthogonal"),
    steps=25,
    signal="wave",
    loss="middle",
    seed=7,
)
STATE = (
    "explorer?v=1&first.cell=lstm&first.hidden=8&first.forget_bias=1.5&first.gain=1.25"
    "&second.cell=gru&second.hidden=5&second.init=orthogonal&steps=25&signal=wave&loss=middle"
    "&seed=7"
)


def figure(page: Page, title: str) -> Locator:
    return page.locator("figure").filter(has=page.get_by_role("heading").filter(has_text=title))


def numbers(page: Page, title: str) -> list[list[str]]:
    """The table of a figure."""
    one = figure(page, title)
    details = one.locator("details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    found: list[list[str]] = one.locator("table").evaluate(
        "table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return found


def same(cell: str, value: object) -> bool:
    return cell == value if isinstance(value, str) else float(cell) == value


def expect_curves(page: Page, settings: Settings) -> None:
    """The table holds what ``explore`` gives."""
    expected = explore(settings)
    columns: list[tuple[object, ...]] = []
    for one in (expected.first, expected.second):
        assert isinstance(one, Curves)
        columns += [one.d_h, *filter(None, [one.d_c, one.carousel])]
    title = "The gradient by step"
    names = [expected.first.name, expected.second.name]
    for name in names:
        expect(figure(page, title).locator(".legend")).to_contain_text(name)
    header, *rows = numbers(page, title)
    assert len(header) == len(columns) + 1
    assert len(rows) == settings.steps
    for at, row in enumerate(rows):
        assert row[0] == str(at)
        for cell, column in zip(row[1:], columns, strict=True):
            assert same(cell, column[at]), (at, cell, column[at])


def test_the_numbers_are_those_of_the_package(visit: Visit) -> None:
    page = visit(STATE)
    expect_curves(page, SETTINGS)
    expected = horizons(SETTINGS)
    for one in (expected.first, expected.second):
        expect(page.get_by_text(one.sentence)).to_be_visible()


@pytest.mark.parametrize(
    ("state", "settings"),
    [
        ("", Settings()),
        (
            "&steps=1&first.hidden=1&second.hidden=1",
            Settings(Network("rnn-tanh", 1), Network(hidden=1), steps=1),
        ),
        (
            "&first.cell=rnn-relu&first.init=identity&signal=zeros",
            Settings(Network("rnn-relu", init="identity"), signal="zeros"),
        ),
        (
            "&first.cell=rnn-relu&first.gain=4&steps=400",
            Settings(Network("rnn-relu", gain=4), steps=400),
        ),
    ],
)
def test_awkward_numbers_too(visit: Visit, state: str, settings: Settings) -> None:
    page = visit(f"explorer?v=1{state}")
    expect_curves(page, settings)


def test_the_multiplier_is_the_packages(visit: Visit) -> None:
    page = visit("explorer?v=1&m=0.9&n=30")
    expected = power(PowerRequest(0.9, 30))
    shown = page.locator(".multiplier")
    expect(shown.locator(".exact")).to_have_text(expected.exact or "")
    expect(shown.locator(".number")).to_have_text(str(float(expected.scientific)))
    expect(shown.locator("dl")).to_contain_text(f"from step {expected.passes} on")
    rows = numbers(page, "What one multiplier leaves")[1:]
    assert [float(row[1]) for row in rows] == list(expected.log10)
    slider = page.get_by_role("slider", name="Multiplier m")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    expect(shown.locator("dl")).to_contain_text("is carried")
    slider.press("ArrowRight")
    expect(shown.locator("dl")).to_contain_text("explodes")
    expect(page).to_have_url(re.compile(r"m=1\.01"))


def test_a_slider_by_keyboard_and_a_number_by_typing(visit: Visit) -> None:
    page = visit(STATE)
    slider = page.get_by_role("slider", name="Steps T")
    slider.focus()
    slider.press("ArrowRight")
    expect(page).to_have_url(re.compile("steps=26"))
    figures = figure(page, "The gradient by step")
    expect(figures.get_by_role("slider")).to_have_attribute("aria-valuemax", "25")
    expect_curves(page, replace(SETTINGS, steps=26))
    typed = page.get_by_label("Second network: Units, typed")
    typed.fill("6")
    typed.press("Enter")
    expect(page).to_have_url(re.compile(r"second\.hidden=6"))
    expect(figures.locator(".legend")).to_contain_text("GRU, 6 units")
    expect_curves(page, replace(SETTINGS, steps=26, second=replace(SETTINGS.second, hidden=6)))


def test_of_many_quick_moves_the_last_is_shown(visit: Visit) -> None:
    page = visit(STATE)
    page.get_by_label("Second network: Gain of W", exact=True).evaluate(
        """slider => { for (let at = 0; at <= 60; at++) { slider.value = at * 0.05;
            slider.dispatchEvent(new Event('input', {bubbles: true})); } }"""
    )
    legend = figure(page, "The gradient by step").locator(".legend")
    expect(legend).to_contain_text("gain 3:")
    expect_curves(page, replace(SETTINGS, second=replace(SETTINGS.second, gain=3.0)))


def test_swap_and_reset(visit: Visit) -> None:
    page = visit(STATE)
    page.get_by_role("button", name="Swap the networks").click()
    legend = figure(page, "The gradient by step").locator(".legend li")
    expect(legend.first).to_contain_text("GRU")
    expect_curves(page, replace(SETTINGS, first=SETTINGS.second, second=SETTINGS.first))
    page.get_by_role("button", name="Reset").click()
    expect(legend.first).to_contain_text("tanh RNN: dL/dh")
    expect_curves(page, Settings())


def test_a_preset_and_the_way_back(visit: Visit) -> None:
    page = visit("explorer")
    page.get_by_role("link", name="Forget bias 1 against 3").click()
    legend = figure(page, "The gradient by step").locator(".legend")
    expect(legend).to_contain_text("forget bias 3")
    expect(page).to_have_url(re.compile(r"second\.forget_bias=3"))
    page.go_back()
    expect(legend).to_contain_text("tanh RNN")


def test_what_means_nothing_for_a_cell_is_off_and_says_why(visit: Visit) -> None:
    page = visit("explorer?v=1&first.cell=rnn-tanh&first.forget_bias=2&second.cell=gru")
    box = page.get_by_label("First network: Set the forget bias")
    expect(box).to_be_disabled()
    first = page.get_by_role("group", name="First network")
    expect(first).to_contain_text("There is no such bias: a simple RNN has no gates.")
    expect(first).to_contain_text("Not used:")
    start = page.get_by_label("First network: Start")
    expect(start.locator("option", has_text="chrono")).to_be_disabled()
    expect(start.locator("option", has_text="identity")).to_be_enabled()
    second = page.get_by_role("group", name="Second network")
    expect(second).to_contain_text("the update gate z")
    page.get_by_label("First network: Cell").select_option("lstm")
    expect(box).to_be_enabled()
    expect(page.get_by_label("First network: Forget bias", exact=True)).to_have_value("2")
    expect(first).not_to_contain_text("Not used:")


def test_a_teachers_link_locks_what_it_says(visit: Visit) -> None:
    page = visit(f"{STATE}&lock=first,steps")
    steps = page.get_by_role("slider", name="Steps T")
    expect(steps).to_be_disabled()
    expect(page.get_by_label("Steps T, typed")).to_be_disabled()
    expect(page.get_by_role("group", name="Both")).to_contain_text("locked")
    for name in ("Cell", "Start", "Gradient"):
        expect(page.get_by_label(f"First network: {name} (locked)")).to_be_disabled()
    expect(page.get_by_label("First network: Set the forget bias")).to_be_disabled()
    expect(page.get_by_label("Second network: Cell")).to_be_enabled()
    expect(page.get_by_role("button", name="Swap the networks (locked)")).to_be_disabled()
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("Second network: Cell")).to_have_value("lstm")
    expect(page).to_have_url(re.compile(r"steps=25.*lock=first\.cell"))
    page.get_by_role("link", name="Beyond float32").click()
    expect(page.get_by_label("Second network: Cell")).to_have_value("rnn-tanh")
    expect(page.get_by_label("First network: Cell (locked)")).to_have_value("lstm")
    expect(steps).to_have_value("25")


def test_a_teacher_makes_a_link(visit: Visit) -> None:
    page = visit(STATE)
    page.get_by_text("Make a teacher link").click()
    panel = page.locator("details").filter(has_text="Make a teacher link")
    panel.get_by_role("group", name="Second network").get_by_label("cell").check()
    link = page.get_by_label("The link").input_value()
    assert link.endswith("&lock=second.cell")
    expect(page.get_by_label("Second network: Cell")).to_be_enabled()
    other = visit(link.split("#/", maxsplit=1)[1])
    expect(other.get_by_label("Second network: Cell (locked)")).to_have_value("gru")
    expect(other.get_by_label("Second network: Cell (locked)")).to_be_disabled()
    expect_curves(other, SETTINGS)


def test_products_and_their_script(visit: Visit) -> None:
    page = visit(STATE)
    page.get_by_role("heading", name="The product of the Jacobians").click()
    expected = products(SETTINGS)
    figure(page, "Norm of ds_T/ds_t").wait_for()
    rows = numbers(page, "Norm of ds_T/ds_t")[1:]
    for at, row in enumerate(rows):
        assert same(row[1], expected.first.log10_by_lag[at])
        assert same(row[2], expected.second.log10_by_lag[at])
    rows = numbers(page, "Largest singular values")[1:]
    singular = (*expected.first.singular, *expected.second.singular)
    for at, row in enumerate(rows):
        for cell, one in zip(row[1:], singular, strict=True):
            assert same(cell, one.log10[at] if at < len(one.log10) else "padding")
    expect(page).to_have_url(re.compile("open=products"))
    section = page.locator("details").filter(has=page.get_by_role("heading", name="The product"))
    section.get_by_text("Copy as PyTorch").click()
    text = code(CodeRequest(SETTINGS, "products")).text
    expect(section.locator("pre")).to_have_text(text, use_inner_text=True)


def test_lyapunov_exponents(visit: Visit) -> None:
    page = visit(f"{STATE}&open=spectra")
    expected = spectra(SETTINGS)
    found = figure(page, "The largest Lyapunov exponents")
    expect(found).to_contain_text(expected.first.sentence)
    rows = numbers(page, "The largest Lyapunov exponents")[1:]
    for at, value in enumerate(expected.first.exponents):
        assert same(rows[at][1], value)


def test_the_itemised_matrix(visit: Visit) -> None:
    page = visit(STATE.replace("loss=middle", "loss=every") + "&open=matrix&of=second")
    expected = matrix(MatrixRequest(replace(SETTINGS, loss="every"), "second"))
    title = f"What each loss sends back: {expected.name}"
    figure(page, title).wait_for()
    rows = numbers(page, title)[1:]
    assert len(rows) == 25
    for row, cells in enumerate(rows):
        for at, cell in enumerate(cells[1:]):
            assert same(cell, expected.log10[25 * row + at])
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowLeft")
    expect(figure(page, title)).to_contain_text("From the loss of step 24 to step 23:")


def test_the_matrix_of_one_loss_is_not_drawn(visit: Visit) -> None:
    page = visit(f"{STATE}&open=matrix")
    link = page.get_by_role("link", name="Put a loss at every step")
    expect(link).to_be_visible()
    expect(page.get_by_label("Matrix of the network")).to_have_count(0)
    expect(figure(page, "What each loss sends back")).to_have_count(0)
    link.click()
    expect(figure(page, "What each loss sends back")).to_be_visible()
    expect(link).to_have_count(0)
    expect(page).to_have_url(re.compile("loss=every"))


def test_the_deeper_figures_do_not_close_each_other(visit: Visit) -> None:
    page = visit(f"{STATE}&open=spectra")
    figure(page, "The largest Lyapunov exponents").wait_for()
    page.get_by_role("heading", name="The product of the Jacobians").click()
    expect(figure(page, "Norm of ds_T/ds_t")).to_be_visible()
    expect(figure(page, "The largest Lyapunov exponents")).to_be_visible()
    expect(page).to_have_url(re.compile("open=products-spectra"))
    page.get_by_role("heading", name="Lyapunov exponents", exact=True).click()
    expect(figure(page, "The largest Lyapunov exponents")).to_be_hidden()
    expect(figure(page, "Norm of ds_T/ds_t")).to_be_visible()


def test_a_number_out_of_range_is_said(visit: Visit) -> None:
    page = visit(STATE)
    typed = page.get_by_label("Second network: Units, typed")
    typed.fill("256")
    typed.press("Enter")
    expect(typed).to_have_value("128")
    said = page.get_by_text("256 is outside 1 to 128: 128 is used.")
    expect(said).to_have_attribute("role", "status")
    expect(page.get_by_role("group", name="Second network")).to_contain_text("1 to 128")
    slider = page.get_by_label("Second network: Units", exact=True)
    slider.press("ArrowLeft")
    expect(said).to_have_count(0)
    expect(page).to_have_url(re.compile(r"second\.hidden=127"))


def test_of_an_lstm_the_sentence_follows_the_cell_state(visit: Visit) -> None:
    page = visit("explorer?v=1&second.forget_bias=3")
    one = explore(Settings(second=Network(forget_bias=3.0))).second
    (c0, c), h = (one.d_c[0], one.d_c[-1]), one.d_h[-1]
    assert isinstance(c0, float)
    assert isinstance(c, float)
    assert isinstance(h, float)
    summary = figure(page, "The gradient by step")
    expect(summary).to_contain_text(f"{10 ** (c0 - c):.3g} of ‖dL/dc‖ (LSTM, forget bias 3)")
    expect(page.locator(".said")).to_contain_text(f"‖dL/dc‖ is {10 ** (c - h):.3g} of ‖dL/dh‖")


def test_lines_that_cannot_be_told_apart_are_named(visit: Visit) -> None:
    page = visit("explorer")
    page.get_by_role("link", name="The carousel of 1997 is constant").click()
    expect(page.locator(".said")).to_contain_text(
        "Upon each other lie LSTM of 1997: carousel alone = LSTM of 1997, gradient of 1997: dL/dc"
    )


def test_the_script_can_be_copied(visit: Visit) -> None:
    page = visit(STATE)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy as PyTorch").first.click()
    page.get_by_role("button", name="Copy the script").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    copied: Any = page.evaluate("navigator.clipboard.readText()")
    assert copied == code(CodeRequest(SETTINGS)).text


def test_zero_and_what_is_beyond_float32_are_to_be_seen(visit: Visit) -> None:
    page = visit(STATE)
    drawing = figure(page, "The gradient by step").locator(".plot svg")
    expect(drawing).to_contain_text("zero")
    page.get_by_role("link", name="Beyond float32").click()
    expect(drawing).to_contain_text("beyond float32")


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize(("view", "figures"), [("products", 4), ("spectra", 3), ("matrix", 3)])
def test_nothing_to_complain_about_with_all_open(
    visit: Visit, view: str, figures: int, width: int
) -> None:
    state = STATE.replace("loss=middle", "loss=every")
    page = visit(f"{state}&open={view}&of=second&lock=seed", width=width, mode="dark")
    expect(page.locator("figure")).to_have_count(figures)
    for summary in page.locator("summary:visible").all():
        closed = summary.evaluate("one => !one.parentElement.open && !one.querySelector('h3')")
        if closed:
            summary.click()
    expect(page.locator("pre")).to_have_count(2)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
