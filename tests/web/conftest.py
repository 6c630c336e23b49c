"""The real server, and Debian's Chromium looking at it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from web_pages import MODES, Visit

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"None of {', '.join(NAMES)} is installed: `make browser` does that."
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address that ``carousel learn`` prints, token included."""
    command = [sys.executable, "-m", "carousel", "learn", "--no-browser"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        line = running.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"The server did not start: {line!r}"
        yield found.group()
    finally:
        running.terminate()
        running.wait(10)
        running.stdout.close()


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Visit]:
    """Opens a part: ``visit("explorer?v=1&steps=20", width=390, mode="dark")``.

    Whatever the page complains about in its console, and any request that leaves the server, fails
    the test.
    """
    complaints: list[str] = []
    contexts = []
    base = server.split("?", maxsplit=1)[0]

    def open_part(part: str, width: int = 1280, mode: str = "light", height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **MODES[mode])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda said: complain(said.type, said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: stays(request))
        page.goto(server)
        page.goto(f"{base}#/{part}")
        page.wait_for_load_state("networkidle")
        return page

    def complain(kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            complaints.append(f"{kind}: {text}")

    def stays(request: Request) -> None:
        if not request.url.startswith((base, "data:", "blob:")):
            complaints.append(f"a request to {request.url}")

    yield open_part
    for context in contexts:
        context.close()
    assert complaints == []
