"""How long after a slider moved the explorer has drawn the result: ``make web`` built it before.

    python benchmarks/explorer_latency.py [--moves 100] [--units 64] [--steps 200]

At H = 64 and T = 200, for each of 100 moves of two sliders: the seed's, for which both networks are
computed anew, and the second network's gain, for which that one is. A move counts from the input
event to the animation frame after the one in which the new curve was drawn. Its parts are printed
beside it: what the server computes and writes as JSON (measured in this process too), the whole
request as the browser sees it, and from its answer to the frame.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time

from playwright.sync_api import Page, sync_playwright

from carousel.serve._api import answer
from carousel.serve._json import encoded

MOVE = """
async ([name, at, moves]) => {
  const slider = document.querySelector(`input[type=range][aria-label="${name}"]`);
  const drawn = () => [...document.querySelectorAll('figure')].find(one =>
    one.textContent.includes('The gradient by step')).querySelector('path[stroke-dasharray]');
  const frame = () => new Promise(requestAnimationFrame);
  const found = [];
  for (let move = 0; move < moves; move++) {
    await new Promise(done => setTimeout(done, 30));
    performance.clearResourceTimings();
    const before = drawn().parentNode.innerHTML;
    const changed = new Promise(done => {
      const look = new MutationObserver(() => {
        if (drawn().parentNode.innerHTML !== before) { look.disconnect(); done(); }
      });
      look.observe(drawn().closest('figure'), {subtree: true, attributes: true, childList: true});
    });
    slider.value = name === 'Seed' ? at + move : 0.5 + 0.05 * ((at + move) % 70);
    const start = performance.now();
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    await changed;
    const updated = performance.now();
    await frame();
    await frame();
    const end = performance.now();
    const asked = performance.getEntriesByName(new URL('api/explore', location.href).href).at(-1);
    found.push({
      whole: end - start,
      request: asked.responseEnd - asked.startTime,
      update: updated - asked.responseEnd,
      frame: end - updated,
    });
  }
  return found;
}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    chosen = parser.parse_args()
    server_parts(chosen.units, chosen.steps)
    command = [sys.executable, "-m", "carousel", "learn", "--no-browser"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    try:
        assert running.stdout is not None
        found = re.search(r"http://\S+", running.stdout.readline())
        assert found, "The server did not start."
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            moves(page, found.group(), chosen)
            browser.close()
    finally:
        running.terminate()
        running.wait(10)


def moves(page: Page, url: str, chosen: argparse.Namespace) -> None:
    """Move the slider, after ten moves that do not count."""
    page.goto(url)
    state = f"steps={chosen.steps}&first.hidden={chosen.units}&second.hidden={chosen.units}"
    start = time.perf_counter()
    page.goto(f"{url.split('?', maxsplit=1)[0]}#/explorer?v=1&{state}")
    page.wait_for_selector("text=The gradient by step")
    print(f"first curve after {time.perf_counter() - start:.2f} s")
    page.wait_for_load_state("networkidle")
    for slider in ("Seed", "Second network: Gain of W"):
        page.evaluate(MOVE, [slider, 1, 10])
        found = page.evaluate(MOVE, [slider, 11, chosen.moves])
        print(f"{slider}:")
        for part in found[0]:
            told(part, [one[part] for one in found])


def server_parts(units: int, steps: int) -> None:
    """What of a request is computing, and what is JSON."""
    body = {"steps": steps, "first": {"cell": "rnn-tanh", "hidden": units}}
    body["second"] = {"hidden": units}
    answer("explore", body | {"seed": 99})
    computing, processor, writing = [], [], []
    for seed in range(30):
        start, used = time.perf_counter(), time.process_time()
        result = answer("explore", body | {"seed": seed})
        processor.append(1e3 * (time.process_time() - used))
        middle = time.perf_counter()
        size = len(encoded(result))
        computing.append(1e3 * (middle - start))
        writing.append(1e3 * (time.perf_counter() - middle))
    told("compute", computing)
    told("of CPU", processor)  # less than the line above where the machine has other things to do
    told("json", writing)
    print(f"answer: {size / 1024:.0f} KiB")


def told(name: str, ms: list[float]) -> None:
    """A line."""
    high = statistics.quantiles(ms, n=20)[-1]
    print(f"{name:8} median {statistics.median(ms):6.1f} ms   p95 {high:6.1f} ms")


if __name__ == "__main__":
    main()
