"""The page as a folder: it opens without a server, with the answers that were computed for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from carousel._errors import CarouselError
from carousel.learn import EXPORTED
from carousel.serve._api import ENDPOINTS
from carousel.serve._app import PAGE
from carousel.serve._json import encoded, members

__all__ = ["canonical", "export"]

ANSWERS = "data.js"
SHOWN = [name for path, (name, _) in PAGE.items() if path != "/landing.js"]  # nobody lands there
SIGN = "// Computed by `carousel learn --export`.\n"  # by which an earlier export is known
SCRIPT = '<script defer src="app.js"></script>'


def export(
    folder: Path,
    requests: Iterable[tuple[str, Any]] = EXPORTED,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the page and the answers into a folder.

    Args:
        folder: is made where it is not there; an earlier export in it is replaced.
        requests: the names of endpoints with what they are asked.
        tell: is told after each answer how many there are.

    Raises:
        CarouselError: something else is in the folder, or it cannot be written.
    """
    try:
        check(folder)
        written = {ANSWERS: answers(requests, tell)}
        for name in SHOWN:
            written[name] = (files("carousel.serve") / "page" / name).read_bytes()
        written["index.html"] = with_answers(written["index.html"].decode()).encode()
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            (folder / name).unlink(missing_ok=True)  # a link would lead to a file of others
            (folder / name).write_bytes(content)
    except OSError as error:
        raise CarouselError(f"The page cannot be exported to {folder}: {error}.") from error


def check(folder: Path) -> None:
    """Refuse to write over anything but an earlier export.

    Raises:
        CarouselError: something else is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CarouselError(f"{folder} is no folder. Name one that is empty or not there yet.")
    found = {path.name for path in folder.iterdir()}
    ours = {*SHOWN, ANSWERS}
    earlier = ANSWERS in found and (folder / ANSWERS).read_bytes().startswith(SIGN.encode())
    if found and not (earlier and found <= ours):
        other = min(found - ours if earlier else found)
        raise CarouselError(
            f"{folder} holds {other}, which is not of an earlier export. "
            "Name a folder that is empty or not there yet."
        )


def answers(requests: Iterable[tuple[str, Any]], tell: Callable[[int], None]) -> bytes:
    """The script that the page looks its answers up in, as web/src/lib/api.ts does."""
    lines = []
    for name, request in requests:
        endpoint = ENDPOINTS[name]
        key = f"{name} {canonical(request)}"
        found = encoded(endpoint.run(request, lambda: None)).decode()
        lines.append(f"{json.dumps(key)}: {found}")
        tell(len(lines))
    joined = ",\n".join(lines)
    return f"{SIGN}window.carouselAnswers = {{\n{joined}\n}};\n".encode()


def with_answers(html: str) -> str:
    """The page, with the answers loaded before it looks for them."""
    assert html.count(SCRIPT) == 1, "index.html does not load app.js as it did"
    return html.replace(SCRIPT, f'<script defer src="{ANSWERS}"></script>\n    {SCRIPT}')


def canonical(value: Any) -> str:
    """What JavaScript's JSON.stringify makes of a request, its names in order."""
    if is_dataclass(value):
        value = members(value)
    if isinstance(value, dict):
        inner = (f"{canonical(name)}:{canonical(value[name])}" for name in sorted(value))
        return f"{{{','.join(inner)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """A number as ECMAScript writes it: 1.0 is 1, 1e16 is 10000000000000000, 1e-07 is 1e-7."""
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, place = "".join(map(str, digits)), len(digits) + exponent  # 0.text * 10^place
    if len(text) <= place <= 21:
        told = text + "0" * (place - len(text))
    elif 0 < place <= 21:
        told = f"{text[:place]}.{text[place:]}"
    elif -6 < place <= 0:
        told = f"0.{'0' * -place}{text}"
    else:
        rest = f".{text[1:]}" if len(text) > 1 else ""
        told = f"{text[0]}{rest}e{place - 1:+d}"
    return f"-{told}" if sign else told
