"""The page: well-formed, self-contained, accessible, and honest about what is not a number."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from tests.report import flows

from carousel.report import Report
from carousel.report._html import to_html

VOID = {"meta", "link", "br", "img", "hr", "input"}
PATTERNS = ("zero", "underflow", "infinite", "nan")


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    text: list[str] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    def walk(self) -> list[Node]:
        return [self, *(node for child in self.children for node in child.walk())]

    def all(self, tag: str) -> list[Node]:
        return [node for node in self.walk() if node.tag == tag]

    def said(self) -> str:
        return " ".join(" ".join(node.text) for node in self.walk())


class Tree(HTMLParser):
    """Builds a tree and insists that every element is closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.stack = [self.root]
        self.feed(page)
        self.close()
        assert self.stack == [self.root], [node.tag for node in self.stack]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].text.append(data)


def page_of(report: Report) -> str:
    return to_html(report.data)


def tree_of(report: Report) -> Node:
    return Tree(page_of(report)).root


def reports() -> dict[str, Report]:
    return {
        "plain": Report(flows.lstm()),
        "categories": Report(flows.categories()),
        "several": Report(
            {"A tenth": flows.tenth(), "An LSTM": flows.lstm(), "Deep": flows.lstm(layers=2)},
            summary="So it is.",
            facts={"seed": 0, "accuracy": {"An LSTM": 0.9}},
        ),
        "layers": Report(flows.lstm(layers=3)),
        "one step": Report(flows.tenth(1)),
        "long": Report(flows.one_nan_in(5000)),
    }


every = pytest.mark.parametrize("name", list(reports()))


@every
def test_it_is_well_formed_and_ids_are_unique(name: str) -> None:
    nodes = tree_of(reports()[name]).walk()
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in nodes:
        for reference in node.attributes.get("aria-labelledby", "").split():
            assert reference in ids
        if node.tag == "a":
            assert node.attributes["href"].removeprefix("#") in ids
        for target in re.findall(r"url\(#([^)]*)\)", node.attributes.get("fill", "")):
            assert target in ids


@every
def test_it_requests_nothing_and_runs_nothing(name: str) -> None:
    page = page_of(reports()[name])
    root = Tree(page).root
    assert "//" not in re.sub(r"/\*.*?\*/", "", page)
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    loading = ("script", "link", "img", "iframe", "object", "embed", "use", "image", "base")
    assert not any(root.all(tag) for tag in loading)
    for node in root.walk():
        assert "src" not in node.attributes
        assert not any(attribute.startswith("on") for attribute in node.attributes)


@every
def test_figures_have_titles_and_tables_beside_them(name: str) -> None:
    root = tree_of(reports()[name])
    for svg in root.all("svg"):
        if svg.attributes.get("role") == "img" and "aria-label" not in svg.attributes:
            assert svg.all("title")[0].said().strip()
            assert svg.all("desc")[0].said().strip()
        elif "role" not in svg.attributes:
            nested = "viewbox" in svg.attributes
            assert nested or svg.attributes["aria-hidden"] == "true"
    assert len(root.all("details")) >= len(root.all("figure")) > 0
    for details in root.all("details"):
        table = details.all("table")[0]
        width = len(table.all("thead")[0].all("th"))
        for row in table.all("tbody")[0].all("tr"):
            assert len(row.children) == width


@every
def test_headings_do_not_skip_a_level(name: str) -> None:
    levels = [
        int(n.tag[1]) for n in tree_of(reports()[name]).walk() if re.fullmatch("h[1-6]", n.tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_user_text_is_escaped_and_clean() -> None:
    evil = "<script>alert('x')</script>\"&\x1b\u202e"
    report = Report(
        {evil: flows.tenth(), "b": flows.lstm()},
        title=evil,
        summary=evil,
        facts={evil: evil, "per flow": {evil: evil}},
    )
    page = page_of(report)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<script>alert('x')</script>" in Tree(page).root.all("title")[0].said()


def test_the_five_categories_look_different() -> None:
    root = tree_of(reports()["categories"])
    drawn = {
        pattern.attributes["id"]: tuple(
            (node.tag, *sorted(node.attributes.items())) for node in pattern.walk()[1:]
        )
        for pattern in root.all("pattern")
    }
    assert set(drawn) == {*PATTERNS, "padding"}
    shapes = {
        tuple(tuple(a for a in node if a[0] != "class") for node in nodes)
        for nodes in drawn.values()
    }
    assert len(shapes) == len(drawn)  # told apart by shape alone, without colour
    (chart, heat) = root.all("figure")
    for category in (*PATTERNS, "padding"):
        assert any(node.attributes.get("fill") == f"url(#{category})" for node in chart.all("rect"))
    inside = {node.attributes.get("fill") for node in heat.all("svg")[0].all("rect")}
    assert inside == {f"url(#{category})" for category in PATTERNS}  # where padding is, nothing is
    for name in ("zero", "underflow", "infinite", "NaN", "padding"):
        assert f" {name} " in " ".join(heat.all("ul")[0].said().split())


def test_padding_leaves_the_map_empty() -> None:
    (_, heat) = tree_of(reports()["categories"]).all("figure")
    row = flows.CATEGORIES.index("padding")
    paths = " ".join(node.attributes["d"] for node in heat.all("svg")[0].all("path"))
    covered = sum(int(width) for width in re.findall(rf"M\d+ {row}h(\d+)", paths))
    assert covered == flows.SHORT


def test_several_flows_share_one_absolute_axis() -> None:
    report = Report({"fast": flows.tenth(20), "slow": flows.lstm()})
    figure = tree_of(report).all("figure")[0]
    curves = [node for node in figure.all("path") if node.attributes["class"].startswith("curve")]
    drawn = [node for node in curves if "L" in node.attributes["d"]]
    assert len(drawn) == 2
    axis = figure.said()
    assert "10⁰" in axis
    assert "10⁻¹⁵" in axis
    bottom = max(
        float(y)
        for node in drawn
        for y in re.findall(r"[ML][\d.e-]+ ([\d.e-]+)", node.attributes["d"])
    )
    assert bottom > 990  # 10^-19 lies at the foot of an axis that ends at 10^-19


def test_where_the_dtype_ends_is_marked() -> None:
    assert "smallest normal float32: 1.2×10⁻³⁸" in tree_of(Report(flows.tenth(60))).said()
    assert "smallest normal" not in tree_of(Report(flows.tenth(10))).said()


def test_later_calls_are_marked() -> None:
    root = tree_of(Report(flows.called(3)))
    lines = [n for n in root.all("line") if n.attributes["class"] == "boundary"]
    assert [line.attributes["x1"] for line in lines] == ["33.333%", "66.667%"]
    assert "called 3 times; later calls begin at step 2, 4." in root.said()
    loop = tree_of(Report(flows.called(30)))
    assert not [n for n in loop.all("line") if n.attributes["class"] == "boundary"]
    assert "called 30 times" in loop.said()


def test_faults_come_first() -> None:
    report = reports()["categories"]
    root = tree_of(report)
    assert root.all("h2")[0].said() == "What is wrong"
    assert report.faults[0] in root.said()
    assert "What is wrong" not in tree_of(reports()["plain"]).said()


def style() -> str:
    return (files("carousel.report") / "templates" / "report.css").read_text(encoding="utf-8")


def test_it_minds_dark_mode_phones_and_paper() -> None:
    sheet = style()
    for query in ("prefers-color-scheme: dark", "max-width: 34rem", "@media print"):
        assert query in sheet
    assert "animation" not in sheet
    assert "transition" not in sheet


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    light, dark = style().split("@media screen and (prefers-color-scheme: dark)")
    chosen = light if scheme == "light" else dark
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", chosen))

    def contrast(one: str, other: str) -> float:
        a, b = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (a + 0.05) / (b + 0.05)

    texts = ["ink", "quiet", "alarm", "link", "underflow-ink", *(f"s{i}" for i in range(8))]
    for text in texts:
        assert contrast(text, "ground") >= 4.5, text
    for text in ("ink", "quiet", *(f"s{i}" for i in range(8))):
        assert contrast(text, "raised") >= 4.5, text
    assert contrast("alarm", "alarm-ground") >= 4.5
    for name in PATTERNS:
        assert contrast(f"{name}-ink", f"{name}-ground") >= 3, name
