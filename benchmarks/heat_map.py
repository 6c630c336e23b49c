"""The heat map of a million cells: on the wire, decoded, and drawn in Chromium.

    python benchmarks/heat_map.py

Serves maps of random levels in which a single NaN and a single infinity stand, checks that both are
seen, and prints medians in milliseconds: of JSON and of base64 (written in Python, read in the
browser), and of a drawing (joining cells, colours, and the canvas).
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import shutil
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
from playwright.sync_api import Page, sync_playwright
from torch import nn

import carousel
from carousel.flow import Flow
from carousel.learn import ModelView
from carousel.report import Report, level
from carousel.serve import serve

SIZES = [(1000, 1000), (250, 4000)]  # sequences, steps
TIMES = 9
READ_JSON = "text => JSON.parse(text)"
READ_BASE64 = """text => { const found = atob(text), bytes = new Uint8Array(found.length);
    for (let at = 0; at < found.length; at++) bytes[at] = found.charCodeAt(at);
    return new Float32Array(bytes.buffer); }"""
# The text goes to the browser once: that takes longer than all that is measured.
CLOCK = """text => { const read = %s, found = [];
    for (let at = 0; at < 5; at++) {
        const from = performance.now();
        read(text);
        found.push(performance.now() - from);
    }
    return found.sort((a, b) => a - b)[2]; }"""


def measured(sequences: int, steps: int) -> Flow:
    """A flow of which every cell is another number; at step 0 one is NaN and one is infinite."""
    torch.manual_seed(0)
    rnn = nn.RNN(1, 1)
    x = torch.randn(steps, sequences, 1)

    def loss(output: tuple[torch.Tensor, torch.Tensor], _: None) -> torch.Tensor:
        odd = torch.tensor([0, 0]), torch.tensor([sequences // 2, sequences // 3])
        values = torch.tensor([[float("nan")], [float("inf")]])
        output[0].register_hook(lambda gradient: gradient.index_put(odd, values))
        return (output[0] * torch.randn_like(output[0])).sum()

    return carousel.measure(rnn, (x, None), loss)


def served(say: Connection, sequences: int, steps: int) -> None:
    """The page with such a model, in a process of its own."""
    flow = measured(sequences, steps)
    view = ModelView("benchmark", flow, Report(flow))
    serve(say.send, browser=False, at="#/model", model=view)


def timed(run: Callable[[], object], times: int = 3) -> float:
    """Milliseconds, the median of several runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1000)
    return statistics.median(found)


def drawn(page: Page) -> float:
    """Milliseconds of a drawing, as the page itself takes its time; each width is a new one."""
    found = []
    for at in range(TIMES):
        page.set_viewport_size({"width": 1200 - 4 * at, "height": 900})
        page.evaluate("document.querySelector('canvas').dataset.drawn = ''")
        page.set_viewport_size({"width": 1202 - 4 * at, "height": 900})
        page.wait_for_selector("canvas:not([data-drawn=''])")
        found.append(float(page.locator("canvas").get_attribute("data-drawn") or "nan"))
    return statistics.median(found)


def wire(page: Page, sequences: int, steps: int) -> None:
    """Both ways of sending the levels, written and read."""
    log10 = measured(sequences, steps)["l0"].log10_norm("d_h").T.contiguous()

    def as_json() -> str:
        return json.dumps([[level(value) for value in row] for row in log10.tolist()])

    def as_base64() -> str:
        return base64.b64encode(log10.float().numpy().tobytes()).decode("ascii")

    for name, write, read in (("JSON", as_json, READ_JSON), ("base64", as_base64, READ_BASE64)):
        text = write()
        reading = page.evaluate(CLOCK % read, text)
        print(
            f"{name}: {len(text) / 1e6:.1f} MB, written in {timed(write):.0f} ms, "
            f"read in {reading:.0f} ms"
        )


def main() -> None:
    """Every size, in a Chromium of its own."""
    context = multiprocessing.get_context("spawn")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        for sequences, steps in SIZES:
            receiver, sender = context.Pipe(duplex=False)
            server = context.Process(target=served, args=(sender, sequences, steps))
            server.start()
            address = receiver.recv()
            time.sleep(1)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            page.wait_for_selector("canvas[data-drawn]")
            for name in ("NaN", "infinite"):
                assert page.locator(f"svg[data-category='{name}']").count() == 1
            median = drawn(page)
            print(f"{sequences} x {steps}: drawn in {median:.0f} ms (median of {TIMES})")
            if (sequences, steps) == SIZES[0]:
                wire(page, sequences, steps)
            page.close()
            server.terminate()
            server.join()
        browser.close()


if __name__ == "__main__":
    main()
