"""The package's metadata: one version, and a description that holds outside of the repository."""

import re
import shlex
from fnmatch import fnmatch

import msgspec
import pytest
import typer

import nanoseg
from nanoseg.cli import app
from tests.helpers.paths import ROOT

PROJECT = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())
README = (ROOT / PROJECT["project"]["readme"]).read_text(encoding="utf-8")


def test_package_version_has_one_source():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "nanoseg.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", nanoseg.__version__)


def test_package_readme_has_no_links_into_the_repository():
    assert [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https://")] == []


def test_package_readme_names_extras_that_exist():
    named = re.findall(r"nanoseg\[([a-z0-9,]+)\]", README)
    assert named
    assert {extra for group in named for extra in group.split(",")} <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("line", re.findall(r"^(nanoseg .*)$", README, re.M))
def test_package_readme_lines_are_accepted(line):
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("verb", words)


def test_package_data_is_in_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["nanoseg"]
    kept = {path for pattern in patterns for path in (ROOT / "nanoseg").glob(pattern)}
    data = {path for path in (ROOT / "nanoseg").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert data == kept


def test_every_folder_of_tests_is_collected(pytestconfig):
    """By default pytest passes over folders called build, and says nothing."""
    patterns = [pattern for pattern in pytestconfig.getini("norecursedirs") if pattern != "node_modules"]
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts]
    left = {str(path) for path in files for part in path.parts for pattern in patterns if fnmatch(part, pattern)}
    assert not left
    assert any(path.parent.name == "build" for path in files)
