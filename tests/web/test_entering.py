"""How a browser is let in, and what becomes of the token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Browser, Page
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from carousel.learn import Settings
from carousel.serve._api import ENDPOINTS, Endpoint
from web_server import TOKEN, Served, served


@pytest.fixture
def running() -> Iterator[Served]:
    with served() as one:
        yield one


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def elsewhere(running: Served) -> Iterator[str]:
    """The address of a page of another site, with a link and scripts that would like to come in."""
    target = f"http://{running.host}"
    html = f"""<!doctype html><title>Elsewhere</title>
        <a id="in" href="{target}/?token={TOKEN}#/explorer?v=1&amp;lock=steps">in</a>"""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def enter(page: Page, running: Served) -> None:
    page.goto(f"http://{running.host}/?token={TOKEN}#/explorer")
    page.locator("main h1").wait_for()


def test_the_token_does_not_stay(page: Page, running: Served) -> None:
    asked: list[tuple[str, str]] = []
    page.on("request", lambda one: asked.append((one.url, one.headers.get("referer", ""))))
    enter(page, running)
    assert page.url == f"http://{running.host}/#/explorer"
    assert page.evaluate("document.referrer") == ""
    assert page.evaluate("document.cookie") == "", "no script reads the cookie"
    assert sum(TOKEN in url for url, _ in asked) == 1
    assert not any(referer for _, referer in asked)
    page.reload()
    page.locator("main h1").wait_for()
    assert page.evaluate("history.length") <= 2


def test_a_second_tab_and_a_second_browser(page: Page, running: Served, browser: Browser) -> None:
    enter(page, running)
    second = page.context.new_page()
    second.goto(f"http://{running.host}/#/quiz")
    second.locator("main h1").wait_for()
    other = browser.new_context()
    stranger = other.new_page()
    answer = stranger.goto(f"http://{running.host}/")
    assert answer is not None
    assert answer.status == 403
    assert "open the address that was printed" in stranger.content()
    enter(stranger, running)
    other.close()


def test_a_link_on_another_site_leads_in(page: Page, running: Served, elsewhere: str) -> None:
    page.goto(elsewhere)
    page.click("#in")
    page.locator("main h1").wait_for()
    assert page.url == f"http://{running.host}/#/explorer?v=1&lock=steps"
    assert TOKEN not in page.url


def test_a_page_of_another_site_gets_nothing(page: Page, running: Served, elsewhere: str) -> None:
    enter(page, running)
    page.goto(elsewhere)
    target = f"http://{running.host}"
    tries = [
        "fetch(t + '/app.js')",
        "fetch(t + '/app.js', {credentials: 'include'})",
        "fetch(t + '/api/explore', {method: 'POST', body: '{}', credentials: 'include'})",
        """fetch(t + '/api/explore', {method: 'POST', body: '{}', credentials: 'include',
            headers: {'Content-Type': 'application/json'}})""",
    ]
    for attempt in tries:
        script = f"t => {attempt}.then(one => one.text(), () => 'refused')"
        assert page.evaluate(script, target) == "refused"
    script = """t => fetch(t + '/app.js', {mode: 'no-cors', credentials: 'include'})
        .then(one => one.type + one.status, () => 'refused')"""
    assert page.evaluate(script, target) in ("opaque0", "refused")
    for tag in ("img", "script", "iframe"):
        loaded = page.evaluate(
            """([tag, url]) => new Promise(done => {
                const one = document.createElement(tag);
                one.onload = () => done(
                    tag === 'iframe' ? one.contentDocument?.title ?? 'foreign' : 'loaded');
                one.onerror = () => done('refused');
                one.src = url; document.body.append(one); })""",
            [tag, f"{target}/{'icon.svg' if tag == 'img' else 'app.js'}"],
        )
        assert loaded in ("refused", "foreign")


def test_a_page_of_another_server_by_the_same_name_gets_nothing(
    page: Page, running: Served, elsewhere: str
) -> None:
    enter(page, running)
    port = elsewhere.rstrip("/").rpartition(":")[2]
    page.goto(f"http://127.0.0.1:{port}/")  # the same site: cookies come along
    knocked, answered = [], []
    guard, admitted, app = running.guard, running.guard.admitted, running.guard.app

    def knock(scope: Scope) -> ASGIApp:
        knocked.append((scope["path"], guard.cookie in (Headers(scope=scope).get("cookie") or "")))
        return admitted(scope)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])
        await app(scope, receive, send)

    guard.admitted, guard.app = knock, answer  # type: ignore[method-assign]
    page.evaluate(
        """t => fetch(t + '/app.js', {mode: 'no-cors', credentials: 'include'})
            .catch(() => {})""",
        f"http://{running.host}",
    )
    assert knocked == [("/app.js", True)], "the browser sends the cookie there"
    assert answered == []


def test_leaving_ends_the_computation(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), threading.Event()

    def endless(_: object, proceed: Callable[[], None]) -> None:
        began.set()
        try:
            while True:
                time.sleep(0.01)
                proceed()
        finally:
            ended.set()

    monkeypatch.setitem(ENDPOINTS, "endless", Endpoint(Settings, endless, Settings, seconds=60))
    with served() as running:
        enter(page, running)
        page.evaluate(
            """() => { window.stop = new AbortController();
                window.asked = fetch('api/endless', {method: 'POST', body: '{}', headers:
                    {'Content-Type': 'application/json'}, signal: window.stop.signal})
                    .then(() => 'answered', error => error.name); }"""
        )
        assert began.wait(20)
        assert not ended.is_set()
        assert page.evaluate("window.stop.abort(), window.asked") == "AbortError"
        assert ended.wait(20)


def test_the_navigation_leads_back_to_what_was_set_and_locked(page: Page, running: Served) -> None:
    enter(page, running)
    page.goto(f"http://{running.host}/#/explorer?v=1&steps=50&lock=steps")
    page.get_by_text("locked").first.wait_for()
    for name in ("Explorer", "Cell", "Explorer"):
        page.locator("header nav").get_by_role("link", name=name).click()
        page.locator("main h1").wait_for()
    page.get_by_text("locked").first.wait_for()
    assert page.url.endswith("#/explorer?v=1&steps=50&lock=steps")


def test_an_address_of_another_version_is_said_to_be_one(page: Page, running: Served) -> None:
    enter(page, running)
    page.goto(f"http://{running.host}/#/explorer?v=99&steps=50&lock=steps")
    page.get_by_text("another version of the page").wait_for()
    page.get_by_role("button", name="Close").click()
    assert page.get_by_text("another version of the page").count() == 0
    stranger = page.context.new_page()  # the first address that a page has
    stranger.goto(f"http://{running.host}/#/cell?v=99&step=3")
    stranger.get_by_text("another version of the page").wait_for()
