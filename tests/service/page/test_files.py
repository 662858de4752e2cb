"""The files of the page, read: small, and nothing in them that a strict Content-Security-Policy forbids."""

from __future__ import annotations

import re

from tests.helpers.paths import ROOT

PAGE = ROOT / "nanoseg" / "service" / "page"


def test_page_files_are_small_and_safe() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.iterdir())}
    assert sum(len(text.encode()) for text in texts.values()) < 100_000
    driver = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests/service/page").glob("*.mjs")}
    assert not {name for name, text in {**texts, **driver}.items() if len(text.splitlines()) > 300}
    forbidden = (
        r"(?:inner|outer)HTML|AdjacentHTML|document\.write|\beval\(|new Function|\sstyle=|<style|\son\w+=\"|javascript:"
    )
    assert not {name: found for name, text in texts.items() if (found := re.findall(forbidden, text))}
    hosts = {host for text in texts.values() for host in re.findall(r"https?://([\w.]+)", text)}
    assert hosts <= {"www.w3.org"}  # SVG's namespace
    assert "<script>" not in texts["index.html"]
