"""A page carries its data, escapes what it shows, and loads nothing."""

import re
from html.parser import HTMLParser

import pytest

from nanoseg.utils.html_page import Figure, Picture, Section, Table, Text, html_page, read_page_data
from nanoseg.utils.svg_figure import COLOURS, INK, SvgFigure

EVIL = "</script><script>alert('x')</script><img src=http://example.com/x onerror=alert(1)>&\"\ud800"


class Elements(HTMLParser):
    """Tags with their attributes, and the text of all elements."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def svg():
    with SvgFigure(height_in=2) as drawn:
        drawn.axes.bar([1, 2], [3, 4], color=COLOURS[1])
        drawn.axes.set_title("<b> & more")
        drawn.axes.set_xlabel("time (ms)")
    return drawn.svg


@pytest.fixture(scope="module")
def page(svg):
    evil = EVIL[:-1]
    parts = [Text(evil, "bad"), Table([evil, ""], [[evil, "1.5 ms"]], evil), Figure(svg, evil), Figure(svg)]
    return html_page(
        evil, [Section("", [Text(evil)]), Section(evil, [*parts, Picture("AAAA", evil, "png")])], {EVIL: 1}
    )


def test_page_escapes_everything(page):
    elements = Elements(page)
    assert [attributes for tag, attributes in elements.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"}
    ]
    assert [attributes["src"] for tag, attributes in elements.tags if tag == "img"] == ["data:image/png;base64,AAAA"]
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)


def test_page_loads_nothing(page):
    elements = Elements(page)
    assert "default-src 'none'" in page
    for _, attributes in elements.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_page_carries_its_data(page):
    assert list(read_page_data(page).values()) == [1]
    assert read_page_data(html_page("x", [], {"a": [1.5, None, EVIL[:-1]]})) == {"a": [1.5, None, EVIL[:-1]]}
    with pytest.raises(ValueError, match="no data"):
        read_page_data("<html>")


def test_page_ids_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 4
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert reference in ids


def test_page_sets_numbers_to_the_right():
    cells = {
        "0.91 ms": 1,
        "-3": 1,
        "1.02 [0.99, 1.05]": 1,
        "-": 1,
        "12 %": 1,
        "prepare": 0,
        "3 of 4 found": 0,
        "TF32": 0,
    }
    page = html_page("x", [Section("", [Table([""], [[each] for each in cells])])])
    for text, number in cells.items():
        assert f'<td class="{"number" if number else "text"}">{text}</td>' in page


def test_figure_takes_the_colours_of_the_page(svg):
    assert "var(--c1)" in svg
    assert "var(--ink)" in svg
    assert INK not in svg
    assert not re.search(r"(fill|stroke): #(?!none)", svg)
    assert "time (ms)</text>" in svg  # text, not outlines


def test_page_keeps_sentences_in_tables_wide():
    """On a phone a cell of one word a line would make its row a screen high."""
    page = html_page(
        "T", [Section("S", [Table(["error"], [["off by 25% from the published figures of two families"]])])]
    )
    assert '<td class="text long">off by' in page
