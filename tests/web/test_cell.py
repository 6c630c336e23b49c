"""The cell diagram on screen, against the Python that computes it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Page, expect

from carousel.learn import CellRun, CellSettings, Network, run_cell
from web_pages import Visit

STEP = 20
UNIT = 3

# (cell, places of its diagram)
CELLS = {
    "lstm": 14,
    "lstm-peephole": 14,
    "lstm-1997": 12,
    "gru": 11,
    "rnn-tanh": 4,
    "rnn-relu": 4,
}

SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def number(text: str) -> float:
    """A number as the page spells it: "−3.6 × 10⁻⁴"."""
    if text == "exactly zero":
        return 0.0
    found = re.fullmatch(r"(−?[\d.]+)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text.strip())
    assert found, text
    exponent = int((found[2] or "⁰").translate(SUPERSCRIPTS))
    return float(found[1].replace("−", "-")) * 10.0**exponent


def on_screen(page: Page, name: str) -> float:
    return number(page.locator(f"[data-number={name}]").inner_text())


def of(run: CellRun, kind: str, name: str, step: int) -> float:
    """The unit's number of a quantity, as Python has it."""
    found = next(one for one in getattr(run, kind) if one.name == name)
    if kind in ("values", "slopes"):
        return float(found.of_unit[step])
    size = found.size[step]
    return 0.0 if size == "zero" else (-1 if found.negative[step] else 1) * 10.0**size


def opened(visit: Visit, query: str, **options: object) -> Page:
    page = visit(f"cell?v=1&{query}", **options)
    expect(page.locator(".step")).to_be_visible()
    return page


def step_of(page: Page) -> int:
    return int(page.get_by_label("Step t, typed").input_value())


@pytest.mark.parametrize("cell", CELLS)
def test_every_part_is_reached_and_says_the_numbers_of_python(visit: Visit, cell: str) -> None:
    page = opened(visit, f"network.cell={cell}&step={STEP}&unit={UNIT}&flow=backward")
    run = run_cell(CellSettings(network=Network(cell, hidden=8), unit=UNIT))  # type: ignore[arg-type]
    places = page.locator("[data-part]")
    expect(places).to_have_count(CELLS[cell])
    names = set()
    for at in range(places.count()):
        places.nth(at).focus()
        expect(places.nth(at)).to_have_attribute("aria-pressed", "true")
        names.add(page.locator("#part-name").inner_text())
        assert page.locator(".equation math").count() > 0
        assert len(page.locator(".says").inner_text()) > 40
        said = page.locator("section:has(#part-name)").inner_text()
        assert "undefined" not in said
        assert "–" not in said  # what stands for a quantity that the run does not have
    assert len(names) == CELLS[cell]
    for gate in run.gates:
        part = "activation" if cell.startswith("rnn") else gate
        page.locator(f"[data-part={part}]").focus()
        expected = {
            "value": of(run, "values", gate, STEP),
            "before": of(run, "values", f"a_{gate}", STEP),
            "slope": of(run, "slopes", gate, STEP),
            "gradient": of(run, "gradients", f"a_{gate}", STEP),
            "way": of(run, "ways", gate, STEP - 1),
        }
        for name, value in expected.items():
            assert on_screen(page, name) == pytest.approx(value, rel=0.05, abs=1e-30), (gate, name)


@pytest.mark.parametrize("cell", CELLS)
def test_the_table_has_it_all_and_its_parts_add_up(visit: Visit, cell: str) -> None:
    """With the loss on the last step nothing is injected before: the ways are the whole."""
    page = opened(visit, f"network.cell={cell}&step={STEP}&unit={UNIT}")
    run = run_cell(CellSettings(network=Network(cell, hidden=8), unit=UNIT))  # type: ignore[arg-type]
    figure = page.locator("figure", has=page.locator("[data-part]"))
    figure.get_by_text("Numbers").click()
    rows = figure.locator("tbody tr")
    expect(rows).to_have_count(CELLS[cell])
    cells = [row.locator("th, td").all_inner_texts() for row in rows.all()]
    ways = [float(row[7]) for row in cells if row[7] not in ("", "zero")]
    total = of(run, "gradients", run.state, STEP - 1)
    assert sum(ways) == pytest.approx(total, rel=1e-4)
    state = "Cell state" if run.state == "c" else "Hidden state"
    shown = next(row for row in cells if row[0] == state)
    assert float(shown[3]) == pytest.approx(of(run, "values", run.state, STEP), rel=1e-6)
    assert float(shown[6]) == pytest.approx(of(run, "gradients", run.state, STEP), rel=1e-5)


def test_a_gradient_far_below_float32_is_said(visit: Visit) -> None:
    page = opened(visit, "network.cell=rnn-tanh&steps=200&step=1&part=h&flow=backward")
    run = run_cell(CellSettings(network=Network("rnn-tanh", hidden=8), steps=200))
    expected = of(run, "gradients", "h", 1)
    assert 0 < abs(expected) < 1e-50
    assert on_screen(page, "gradient") == pytest.approx(expected, rel=0.05)


def test_the_keyboard_walks_and_plays(visit: Visit) -> None:
    page = opened(visit, f"step={STEP}")
    order = page.locator("[data-part]").evaluate_all("all => all.map(one => one.dataset.part)")
    focused = "document.activeElement.dataset.part"
    page.locator("[data-part]").first.focus()
    walked = [page.evaluate(focused)]
    for _ in order[1:]:
        page.keyboard.press("Tab")
        walked.append(page.evaluate(focused))
    assert walked == order
    page.locator("[data-part=f]").focus()
    for key, place in (("ArrowRight", "i"), ("ArrowLeft", "f"), ("ArrowUp", "keep")):
        page.keyboard.press(key)
        assert page.evaluate(focused) == place
    expect(page.locator("#part-name")).to_have_text("Keeping")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_label("Step t, typed")).not_to_have_value(str(STEP))
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert page.evaluate(focused) == "keep"


def test_it_plays_with_the_flow_and_stops_at_its_end(visit: Visit) -> None:
    page = opened(visit, "steps=3&step=1&flow=backward")
    page.get_by_role("button", name="Play back").click()
    expect(page.get_by_role("button", name="Play back")).to_be_visible()
    assert step_of(page) == 0
    page.get_by_label("Forward: values").check()
    page.get_by_role("button", name="Next").click()
    assert step_of(page) == 1
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert step_of(page) == 2


@pytest.mark.parametrize("mode", ["light", "reduced motion"])
def test_nothing_moves_by_itself(visit: Visit, mode: str) -> None:
    page = opened(visit, f"step={STEP}", mode=mode)
    page.wait_for_timeout(1000)
    assert step_of(page) == STEP


def test_the_state_stands_in_the_address(visit: Visit) -> None:
    page = opened(visit, "unit=100&step=199&network.cell=gru&part=nothing&network.init=identity")
    assert step_of(page) == 29  # what does not go together is set right
    assert page.get_by_label("Unit, typed").input_value() == "7"
    expect(page.locator("[data-part=z]")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Cell", exact=True).select_option("lstm")
    page.get_by_text("Network and input").click()
    page.get_by_label("Set the forget bias").check()
    page.get_by_label("Forget bias, typed").fill("2.5")
    page.get_by_label("Forget bias, typed").press("Enter")
    page.locator("[data-part=f]").focus()
    run = run_cell(CellSettings(network=Network("lstm", hidden=8, forget_bias=2.5), unit=7))
    expected = of(run, "values", "f", 29)
    expect(page.locator("[data-number=value]")).to_have_text(f"{expected:.3g}")
    url = page.url
    for part in ("network.forget_bias=2.5", "unit=7", "step=29", "v=1"):
        assert part in url
    page.reload()
    expect(page.locator("[data-number=value]")).to_have_text(f"{expected:.3g}")
    assert page.url == url
    page.evaluate("location.hash = '#/cell?v=1&step=3'")  # a link from elsewhere on the page
    expect(page.get_by_label("Step t, typed")).to_have_value("3")


def test_a_tap_shows_a_part_on_a_telephone(visit: Visit) -> None:
    page = opened(visit, f"step={STEP}", width=320)
    page.locator("[data-part=read]").click()
    expect(page.locator("#part-name")).to_have_text("Reading")
    small = page.locator("svg text").evaluate_all(
        "all => all.filter(one => parseFloat(getComputedStyle(one).fontSize) < 12).length"
    )
    assert small == 0
    sides = page.locator("[data-part]").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(b => Math.min(b.width, b.height))"
    )
    assert min(sides) >= 24


def test_hovering_shows_and_leaving_returns(visit: Visit) -> None:
    page = opened(visit, f"step={STEP}&part=f")
    page.locator("[data-part=o]").hover()
    expect(page.locator("#part-name")).to_have_text("Output gate")
    page.locator("h1").hover()
    expect(page.locator("#part-name")).to_have_text("Forget gate")


def test_a_step_is_chosen_in_the_chart(visit: Visit) -> None:
    page = opened(visit, f"step={STEP}")
    page.get_by_role("slider", name="Gates of unit 0 over time: step t").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Step t, typed")).to_have_value(str(STEP - 1))


def test_the_saved_drawing_looks_as_on_screen(visit: Visit) -> None:
    page = opened(visit, f"step={STEP}")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as SVG: One step of the LSTM").click()
    saved = saving.value.path().read_text(encoding="utf-8")
    drawing = ET.fromstring(saved)  # noqa: S314 - made by the page under test
    texts = list(drawing.iter("{http://www.w3.org/2000/svg}text"))
    symbol = next(one for one in texts if one.text == "f")
    assert symbol.get("font-style") == "italic"
    assert symbol.get("font-size") == "16px"
    assert "var(" not in saved


def test_a_box_holds_two_digits_and_fits(visit: Visit) -> None:
    """What stands in the boxes on the way back is the number, not its power of ten alone."""
    page = opened(visit, "step=3&flow=backward", width=320)
    run = run_cell(CellSettings())
    for part, name, step in (("c", "c", 3), ("c_prev", "c", 2), ("f", "a_f", 3)):
        shown = page.locator(f"[data-part={part}] .number").inner_html()
        found = re.sub("<[^>]*>", "", shown).replace("·", " × ")
        assert number(found) == pytest.approx(of(run, "gradients", name, step), rel=0.05)
    wider = page.locator("[data-part] .number").evaluate_all(
        """all => all
            .filter(one => one.getBBox().width >
                one.parentNode.querySelectorAll('rect')[1].getBBox().width)
            .map(one => one.textContent)"""
    )
    assert wider == []


def test_shares_are_signed_and_add_up(visit: Visit) -> None:
    page = opened(visit, f"step={STEP}&part=f")
    run = run_cell(CellSettings())
    total = of(run, "gradients", "c", STEP - 1)
    shares = []
    for part in ("keep", "i", "f", "g", "o"):
        page.locator(f"[data-part={part}]").focus()
        way = {"keep": "direct"}.get(part, part)
        said = page.locator("dd:has([data-number=way]) .quiet").inner_text()
        shares.append(number(said.removesuffix(" % of its total")))
        expected = 100 * of(run, "ways", way, STEP - 1) / total
        assert shares[-1] == pytest.approx(expected, rel=0.05, abs=0.05)
        expect(page.get_by_text("add up to 100 %")).to_be_visible()
    assert min(shares) < 0
    assert sum(shares) == pytest.approx(100, abs=0.5)
