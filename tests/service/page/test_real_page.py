"""The page in headless Chromium, against `nanoseg serve` as a process of its own.

As a program it makes the picture of the page in docs/service.md: `make page-picture`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.service.page.driver import drive, missing
from tests.service.served import served

CONFIG = """
[[source]]
name = "belt"
url = "parts://?seed=1"

[[region]]
source = "belt"
name = "outfeed"
polygon = [[0.04, 0.04], [0.36, 0.04], [0.36, 0.96], [0.04, 0.96]]
"""


def look(folder: Path, picture: str = "") -> dict:
    """Return what the page of a service shows."""
    with served(folder, CONFIG) as service:
        saw = drive("real", f"{service.url}/", picture=picture)
        service.end()
        saw["log"] = service.lines
        return saw


@pytest.mark.slow
def test_page_of_a_real_service(tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    saw = look(tmp_path)
    assert (saw["errors"], saw["strangers"]) == ([], [])
    assert saw["moves"]
    assert saw["shares"][-1] > 0.3, "of the box of an object that was clicked"
    assert saw["drawn"] == 1
    assert saw["goesOn"]
    assert len(saw["log"]) == 1, "that it serves: nothing the page asks for is trouble"


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        look(Path(folder), str(Path(sys.argv[1]).resolve()))
