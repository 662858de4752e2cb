"""Run a scenario of the page in Chromium and read what it saw."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

NODE = 20  # the least that playwright-core runs on
HERE = Path(__file__).parent


@cache
def missing() -> str:
    """Return what is not there to drive the page with; empty where all is."""
    if not _browser():
        return "needs chromium, which is not installed (.ci/system-packages.sh)"
    if not shutil.which("node"):
        return "needs node, which is not installed (.ci/system-packages.sh)"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < NODE:
        return f"needs node {NODE} or later, got {version}"
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        return "needs playwright-core: make page-tests installs it (npm ci in tests/service/page)"
    return ""


def _browser() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def drive(scenario: str, url: str, token: str = "", picture: str = "") -> dict:
    """Return what a scenario of drive.mjs saw; the test is skipped where there is no browser.

    Args:
        scenario: Name of an exported function of looks.mjs, uses.mjs, troubles.mjs or races.mjs.
        url: Address of the service, real or fake, with a slash at its end.
        token: Its token, where it has one.
        picture: Path of the JPEG that the scenario `real` makes of the page; empty: none.
    """
    if why := missing():
        pytest.skip(why)
    options = {"scenario": scenario, "url": url, "token": token, "picture": picture, "browser": _browser()}
    command = ["node", "drive.mjs", json.dumps(options)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
