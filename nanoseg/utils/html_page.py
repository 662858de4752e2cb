"""A page of text, tables and figures in one HTML file: no network, no script, light and dark, phone and desktop.

The file carries its data as JSON, in an element that no browser runs: `read_page_data` gets it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from nanoseg.utils.names import encode_json

DATA_ID = "data"
# Even what an attacker got past the escaping could load and send nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --card: #f6f8fa; --line: #d1d9e0;
  --good: #1a7f37; --bad: #c4320a; --note: #0969da; --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #aa4499;
  --c4: #8a6d00; --c5: #56707f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --paper: #0d1117; --card: #161b22;
  --line: #30363d; --good: #3fb950; --bad: #ff7b54; --note: #58a6ff; --c0: #56b4e9; --c1: #f0883e; --c2: #2ec4a0;
  --c3: #d78bd1; --c4: #e3b341; --c5: #8fa7b5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
.soft, figcaption, caption { color: var(--soft); }
.note { padding: .5rem .75rem; margin: .75rem 0; max-width: none; border-left: 4px solid var(--note);
  background: var(--card); }
.good { border-color: var(--good); } .bad { border-color: var(--bad); }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .25rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; } td.number { text-align: right; white-space: nowrap; }
td { min-width: 3rem; } td.text { max-width: 32rem; } td.long { min-width: 14rem; }
figure { margin: .75rem 0; padding: .5rem; max-width: 42rem; background: var(--card); border-radius: .5rem; }
figure svg, figure img { display: block; width: 100%; height: auto; }
.figures { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.pictures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 10rem), 1fr)); align-items: start; }
.figures figure { margin: 0; }
figcaption { font-size: .85rem; padding: .25rem; }
""".strip()
_NUMBER = re.compile(r"[-+±~<>≤≥ ]*[\d.,]+(e[-+]?\d+)?( ?[%×x°]?[A-Za-z/%°µ]{0,5})?( \[[\d., -]+\])?|[-–—]?")
_LONG = 40  # characters of a cell that is a sentence


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` is "" or "soft", or of a framed one "note", "good" or "bad"."""

    text: str
    kind: str = ""

    def html(self) -> str:
        """Return the element."""
        framed = "note " if self.kind in ("good", "bad") else ""
        return f'<p class="{escape(framed + self.kind)}">{escape(self.text)}</p>'


@dataclass(frozen=True)
class Table:
    """A table, which scrolls sideways where it is wider than the page; columns of numbers are set to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def html(self) -> str:
        """Return the element."""
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.head)
        head = f"<thead><tr>{head}</tr></thead>" if any(self.head) else ""
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows)
        return f'<div class="wide"><table>{caption}{head}<tbody>{rows}</tbody></table></div>'


@dataclass(frozen=True)
class Figure:
    """A figure: the text of an SVG file, such as `nanoseg.utils.svg_figure` makes; figures in a row share the width."""

    svg: str
    caption: str = ""

    def html(self) -> str:
        """Return the element; what is before the <svg> of its file is left out."""
        svg = self.svg[max(self.svg.find("<svg"), 0) :]
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f"<figure>{svg}{caption}</figure>"


@dataclass(frozen=True)
class Picture:
    """A picture: base64 of a PNG or JPEG file."""

    base64: str
    caption: str
    kind: str = "jpeg"  # or "png"

    def html(self) -> str:
        """Return the element."""
        source = f"data:image/{escape(self.kind)};base64,{escape(self.base64)}"
        caption = escape(self.caption)
        return f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


Part = Text | Table | Figure | Picture


@dataclass(frozen=True)
class Section:
    """A part of the page; without a heading that in front of all others."""

    heading: str
    parts: Sequence[Part]

    def html(self) -> str:
        """Return the element."""
        heading = f"<h2>{escape(self.heading)}</h2>\n" if self.heading else ""
        return f"<section>\n{heading}{_grouped(self.parts)}</section>\n"


def html_page(title: str, sections: Sequence[Section], data: Any = None) -> str:
    """Return a page as the text of an HTML file.

    Args:
        title: The title, also the heading.
        sections: What is on it.
        data: What msgspec encodes as JSON: what the page shows, for programs.
    """
    # "<" is the only way out of a script element, and in JSON it stands in strings alone.
    carried = encode_json(data).decode().replace("<", "\\u003c")
    body = "".join(_unique_ids(section.html(), f"s{index}-") for index, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'{body}<script type="application/json" id="{DATA_ID}">{carried}</script>\n</body>\n</html>\n'
    )


def read_page_data(page: str) -> Any:
    """Return the data that a page of `html_page` carries; raises ValueError where there is none."""
    found = re.search(rf'<script type="application/json" id="{DATA_ID}">(.*?)</script>', page, re.DOTALL)
    if found is None:
        raise ValueError("this page carries no data")
    return json.loads(found[1])


def _cell(text: str) -> str:
    # A narrow page scrolls sideways rather than break a sentence into one word a line.
    kind = "number" if _NUMBER.fullmatch(text) else "text long" if len(text) > _LONG else "text"
    return f'<td class="{kind}">{escape(text)}</td>'


def _grouped(parts: Sequence[Part]) -> str:
    """Return the elements of parts, figures that follow each other in a grid, of more columns for pictures alone."""
    lines: list[str] = []
    row: list[str] = []
    kind = " pictures"
    for part in [*parts, None]:
        if isinstance(part, (Figure, Picture)):
            row.append(_unique_ids(part.html(), f"f{len(lines)}-{len(row)}-"))
            kind = kind if isinstance(part, Picture) else ""
            continue
        if row:
            lines.append(f'<div class="figures{kind}">{"".join(row)}</div>')
            row, kind = [], " pictures"
        if part is not None:
            lines.append(part.html())
    return "".join(f"{line}\n" for line in lines)


def _unique_ids(html: str, prefix: str) -> str:
    """Return HTML whose ids, and references to them, have a prefix: two SVG files may have the same."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", html)
