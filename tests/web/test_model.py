"""``carousel check --web`` in the browser: the numbers on screen are those of the flow."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from tests.web.test_every_part import violations

import carousel
from carousel.diagnosis import diagnose
from carousel.flow import Category, Flow
from web_pages import MODES, Visit

NETS = """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WEIGHTS = [1.0, 0.01, 30.0, 0.0, 1.0, 1.0]  # value, underflow, infinite, zero, NaN, padding
LENGTHS = torch.tensor([60, 60, 60, 60, 60, 20])


class Net(nn.Module):
    # A stack as people have it, and a diagonal RNN whose gradients are of every category.

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(3, 8, num_layers=2, bidirectional=True)
        self.strange = nn.RNN(1, 6, bias=False)
        with torch.no_grad():
            self.strange.weight_hh_l0.copy_(torch.tensor(WEIGHTS).diag())

    def forward(self, x):
        packed = pack_padded_sequence(torch.zeros(60, 6, 1), LENGTHS)
        return self.encoder(x)[0], pad_packed_sequence(self.strange(packed)[0])[0]


def loss(outputs, rows):
    encoded, strange = outputs
    nan_at = torch.tensor([30]), torch.tensor([4])
    strange.register_hook(lambda g: g.index_put(nan_at, torch.tensor(float("nan"))))
    return encoded[-1].square().sum() + strange[LENGTHS - 1, rows, rows].sum()


def make():
    return Net(), (torch.randn(60, 6, 3), torch.arange(6)), loss
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nets")
    (made / "nets.py").write_text(NETS, encoding="utf-8")
    return made


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """The command, and the address that it prints."""
    command = [sys.executable, "-m", "carousel", "check", "nets:make", "--lag", "20", "--web"]
    running = subprocess.Popen(
        [*command, "--no-browser", *options], stdout=subprocess.PIPE, text=True, cwd=folder
    )
    assert running.stdout is not None
    for line in running.stdout:
        found = re.search(r"Carousel's page: (http://\S+)", line)
        if found:
            return running, found[1]
    raise AssertionError(f"The server did not start, and left with {running.wait()}.")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """In the place of ``carousel learn``."""
    running, address = start(folder)
    yield address
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 1  # as the findings have it: Ctrl-C is how it ends
    assert running.stdout is not None
    running.stdout.close()


@pytest.fixture(scope="module")
def flow(folder: Path) -> Flow:
    """What the command measured, measured here."""
    spec = importlib.util.spec_from_file_location("nets_of_test_model", folder / "nets.py")
    assert spec is not None
    assert spec.loader is not None
    nets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nets)
    torch.manual_seed(0)
    return carousel.measure(*nets.make())


def layer_named(page: Page, name: str) -> None:
    """Waits for a layer, its map included."""
    expect(page.locator("h2.name")).to_have_text(name)
    expect(page.locator("canvas[data-drawn]")).to_be_visible()


def number(text: str) -> float:
    """0.52, or 9.5 × 10⁻⁷."""
    plain = text.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(plain.replace(" × 10", "e"))


def told(pattern: str, text: str) -> str:
    """What stands in the place of the pattern's group."""
    found = re.search(pattern, text)
    assert found, f"No {pattern!r} in {text!r}."
    return found[1]


def cell_read(page: Page) -> str:
    said = page.get_by_role("slider", name="Every sequence, every step").get_attribute(
        "aria-valuetext"
    )
    assert said is not None
    return said


def test_the_address_that_is_printed_shows_the_model_first(visit: Visit, server: str) -> None:
    assert server.endswith("#/model")
    page = visit("lesson")
    page.goto(server)
    expect(page.get_by_role("heading", level=1)).to_have_text("Your model")
    expect(page.locator(".target")).to_have_text("nets:make")


def test_the_tree_goes_by_the_keyboard(visit: Visit) -> None:
    page = visit("model")
    layer_named(page, "encoder.l0")
    page.get_by_role("treeitem", name="l0", exact=False).nth(1).focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    layer_named(page, "encoder.l1")
    assert "layer=encoder.l1" in page.url
    page.reload()
    layer_named(page, "encoder.l1")
    tree = page.get_by_role("tree", name="Layers")
    assert tree.get_by_role("treeitem").count() == 6
    tree.locator("[tabindex='0']").focus()
    for key in ("ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    assert tree.get_by_role("treeitem").count() == 2
    expect(tree.locator(":focus")).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    page.keyboard.press(" ")
    layer_named(page, "strange.l0")


@pytest.mark.parametrize("name", ["encoder.l0_reverse", "encoder.l1"])
def test_what_is_said_of_a_layer_is_what_the_flow_says(visit: Visit, flow: Flow, name: str) -> None:
    page = visit(f"model?v=1&layer={name}")
    layer_named(page, name)
    layer = flow[name]
    expect(page.locator(".horizon")).to_have_text(str(layer.horizon()))
    mean = float(layer.gates["f"].mean())
    gate = page.get_by_role("figure", name="Gate f")
    assert float(told(r"average ([\d.]+)", gate.inner_text())) == pytest.approx(mean, abs=1e-3)
    slider = page.get_by_role("slider", name="Gradient by step: step t")
    slider.focus()
    page.keyboard.press("Home")
    said = slider.get_attribute("aria-valuetext") or ""
    found = number(told(r"total dL/dh (.+?) \(", said))
    median = float(layer.norm("d_h")[0].double().log10().quantile(0.5))
    assert found == pytest.approx(10**median, rel=0.06)


def test_the_map_reads_out_its_cells(visit: Visit, flow: Flow) -> None:
    page = visit("model?v=1&layer=encoder.l0")
    layer_named(page, "encoder.l0")
    page.get_by_role("slider", name="Every sequence, every step").focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    place, value = cell_read(page).split(": ")
    assert place == "sequence 2, step 58"
    assert number(value) == pytest.approx(float(flow["encoder.l0"].norm("d_h")[58, 2]), rel=0.06)


def test_all_five_categories_are_seen_apart(visit: Visit, flow: Flow) -> None:
    page = visit("model?v=1&layer=strange.l0")
    layer_named(page, "strange.l0")
    category = flow["strange.l0"].category("d_h")
    names = {
        "zero": Category.ZERO,
        "underflow": Category.UNDERFLOW,
        "infinite": Category.INFINITE,
        "NaN": Category.NAN,
        "padding (not recorded)": Category.PADDING,
    }
    for name, code in names.items():
        key = page.locator(f"svg[data-category='{name}']")
        expect(key).to_have_text(f"{name} ({int((category == code).sum())})")
    places = {name: (category == code).nonzero()[10].tolist() for name, code in names.items()}
    painted = page.evaluate(
        """places => { const canvas = document.querySelector('canvas');
            const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const pixels = new Uint32Array(all.data.buffer);
            return Object.fromEntries(Object.entries(places).map(([name, [step, sequence]]) => {
                const [left, top] = [step / 60 * canvas.width, sequence / 6 * canvas.height];
                return [name, Array.from({length: 64}, (_, at) => pixels[
                    (Math.ceil(top) + (at >> 3)) * canvas.width + Math.ceil(left) + (at & 7)])];
            })); }""",
        places,
    )
    assert all(len(set(pixels)) == 2 for pixels in painted.values())  # a ground and a pattern
    assert len({tuple(sorted(set(pixels))) for pixels in painted.values()}) == 5
    page.get_by_role("button", name="Go to the first NaN").click()
    first = int((category == Category.NAN).any(dim=1).nonzero()[0])
    assert cell_read(page) == f"sequence 4, step {first}: not a number"
    page.get_by_role("button", name="Go to the first infinity").click()
    assert cell_read(page).endswith("infinite") or "overflows" in cell_read(page)


def test_products_are_computed_when_they_are_asked_for(visit: Visit, flow: Flow) -> None:
    page = visit("model?v=1&layer=encoder.l1_reverse")
    layer_named(page, "encoder.l1_reverse")
    assert page.get_by_role("figure", name="Norm of ds_T/ds_t by lag").count() == 0
    page.get_by_role("button", name="Compute", exact=True).click()
    figure = page.get_by_role("figure", name="Norm of ds_T/ds_t by lag")
    figure.get_by_text("Numbers").click()
    cells = figure.locator("tbody tr").nth(40).locator("td").all_inner_texts()
    norms = flow["encoder.l1_reverse"].jacobian_norms().log10[40, :4]
    assert float(cells[0]) == pytest.approx(float(norms.quantile(0.5)), abs=1e-3)


def test_every_finding_stands_on_the_page_with_its_remedies(visit: Visit, flow: Flow) -> None:
    page = visit("model")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for button in page.get_by_role("button", name=re.compile("Show all")).all():
        button.click()
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    text = page.locator(".findings").inner_text()
    findings = diagnose(flow, 20)
    assert findings
    for finding in findings:
        assert finding.sentence.removeprefix(f"{finding.layer}: ") in text
        for remedy in finding.remedies:
            assert remedy.name in text
    copied = ""
    for button in page.get_by_role("button", name=re.compile(r"Copy .*vanishing, chrono")).all():
        button.click()
        copied += page.evaluate("navigator.clipboard.readText()")
    codes: list[str] = [
        remedy.code()
        for finding in findings
        for remedy in finding.remedies
        if finding.rule == "vanishing" and remedy.name == "chrono"
    ]
    assert all(code.splitlines()[-1] in copied for code in codes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_to_complain_about(visit: Visit, width: int, mode: str) -> None:
    page = visit("model?v=1&layer=strange.l0", width=width, mode=mode)
    layer_named(page, "strange.l0")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--web", "--json"], "--json prints one JSON document and ends"),
        (["--port", "0"], "--port says where --web serves"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    folder: Path, options: list[str], said: str
) -> None:
    command = [sys.executable, "-m", "carousel", "check", "nets:make", *options]
    done: Any = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_where_sequences_end_is_marked(visit: Visit) -> None:
    page = visit("model?v=1&layer=strange.l0")
    layer_named(page, "strange.l0")
    figure = page.locator("figure").filter(has=page.get_by_role("heading", name="Gradient by step"))
    marks = figure.locator("line.mark title")
    assert marks.all_text_contents() == ["1 sequence ends before step 20"]
    summary = figure.locator(".summary")
    expect(summary).to_contain_text("over the 5 of 6 sequences that reach step 59")
    expect(summary).to_contain_text("1 sequence of 6 ends before step 20, 5 reach step 59")


def test_a_finding_has_a_title_and_its_rule_beside_it(visit: Visit) -> None:
    page = visit("model")
    heading = page.locator("h3", has=page.locator("code", has_text="forget-gate-default"))
    expect(heading.first).to_contain_text("forget gate at its default")
