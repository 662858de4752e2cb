"""The inputs of known faults: small files in this folder, or in `../shared/cases` beside the checkout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.conftest import oracle, photos  # noqa: F401 - fixtures
from tests.helpers.paths import ROOT

CASES = Path(__file__).resolve().parent
SHARED_CASES = ROOT.parent / "shared" / "cases"


@pytest.fixture
def case() -> Callable[[str], Path]:
    """Return a file or folder by its name, `sources/01-interlaced/scene_i.mp4`; the copy in this folder goes first."""

    def find(name: str) -> Path:
        for root in (CASES, SHARED_CASES):
            if (path := root / name).exists():
                return path
        pytest.skip(f"needs ../shared/cases/{name}, which is not beside this checkout")

    return find


@pytest.fixture
def made_case(tmp_path: Path) -> Callable[[str], Path]:
    """Run the `make.py` of a folder, of this one or of `../shared/cases`, and return the folder that it fills."""

    def make(name: str) -> Path:
        scripts = [root / name / "make.py" for root in (CASES, SHARED_CASES)]
        script = next((path for path in scripts if path.exists()), None)
        if script is None:
            pytest.skip(f"needs ../shared/cases/{name}/make.py, which is not beside this checkout")
        folder = tmp_path / Path(name).name
        subprocess.run([sys.executable, script, folder], check=True, capture_output=True, timeout=120)
        return folder

    return make
