"""The page as a folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from carousel import CarouselError
from carousel.learn import EXPORTED, Network, Settings
from carousel.serve import export
from carousel.serve._api import ENDPOINTS, answer
from carousel.serve._export import canonical, number
from carousel.serve._json import encoded

SMALL = Settings(Network(hidden=3), Network(hidden=2, gain=0.1), 5)
FILES = {"index.html", "app.js", "app.css", "icon.svg", "data.js"}


def answers(folder: Path) -> dict[str, object]:
    text = (folder / "data.js").read_text(encoding="utf-8")
    found = re.fullmatch(r"//.*\nwindow\.carouselAnswers = (\{.*\});\n", text, re.DOTALL)
    assert found
    made: dict[str, object] = json.loads(found[1])
    return made


def test_what_is_exported_can_be_asked() -> None:
    assert EXPORTED
    for name, request in EXPORTED:
        assert type(request) is ENDPOINTS[name].request
    assert len({f"{name} {canonical(request)}" for name, request in EXPORTED}) == len(EXPORTED)


def test_the_folder(tmp_path: Path) -> None:
    told: list[int] = []
    export(tmp_path / "a" / "b", [("explore", SMALL), ("explore", Settings(steps=3))], told.append)
    folder = tmp_path / "a" / "b"
    assert {path.name for path in folder.iterdir()} == FILES
    assert told == [1, 2]
    found = answers(folder)
    assert next(iter(found)) == (
        'explore {"first":{"cell":"lstm","forget_bias":null,'
        '"gain":1,"gradient":"full","hidden":3,"init":"default"},'
        '"loss":"last","second":{"cell":"lstm","forget_bias":null,"gain":0.1,"gradient":"full","hidden":2,'
        '"init":"default"},"seed":0,"signal":"noise","steps":5}'
    )
    small = {"first": {"hidden": 3}, "second": {"hidden": 2, "gain": 0.1}, "steps": 5}
    small["first"] |= {"cell": "lstm"}  # type: ignore[operator]
    assert next(iter(found.values())) == json.loads(encoded(answer("explore", small)))
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'src="([^"]+)"', html) == ["data.js", "app.js"]


def test_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    export(tmp_path, [("explore", SMALL)])
    (tmp_path / "app.css").unlink()
    export(tmp_path, [("explore", Settings(steps=3))])
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert len(answers(tmp_path)) == 1
    assert '"steps":3' in next(iter(answers(tmp_path)))


@pytest.mark.parametrize("names", [["a.txt"], ["index.html"], ["data.js"], [*FILES]])
def test_nothing_else_is_written_over(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(CarouselError, match="which is not of an earlier export"):
        export(tmp_path, [])
    assert {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"mine"}


def test_nor_something_beside_an_earlier_export(tmp_path: Path) -> None:
    export(tmp_path, [])
    (tmp_path / "notes.md").write_text("mine", encoding="utf-8")
    with pytest.raises(CarouselError, match=r"holds notes\.md"):
        export(tmp_path, [])


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine", encoding="utf-8")
    with pytest.raises(CarouselError, match="is no folder"):
        export(tmp_path / "a", [])
    with pytest.raises(CarouselError, match="cannot be exported"):
        export(tmp_path / "a" / "b", [])


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_an_export_writes_through_no_link(tmp_path: Path) -> None:
    export(tmp_path / "page", [])
    mine = tmp_path / "mine.txt"
    mine.write_text("mine", encoding="utf-8")
    (tmp_path / "page" / "app.css").unlink()
    (tmp_path / "page" / "app.css").symlink_to(mine)
    export(tmp_path / "page", [])
    assert mine.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (100.0, "100"),
        (123456.75, "123456.75"),
        (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-5, "0.00001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
        (5e-324, "5e-324"),
        (float("nan"), "null"),
        (float("inf"), "null"),
    ],
)
def test_numbers_as_javascript_writes_them(value: float, text: str) -> None:
    assert number(value) == text


def test_canonical_texts() -> None:
    given = {"b": [1, 2.0, None, True, 'é\n"\\\x01\x7f'], "a": (), "C": {}}
    assert canonical(given) == '{"C":{},"a":[],"b":[1,2,null,true,"é\\n\\"\\\\\\u0001\x7f"]}'
