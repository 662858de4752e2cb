"""Commands, blocks and extras in README.md and docs/: the command line and pyproject.toml know them."""

from __future__ import annotations

import re

import msgspec
import pytest
import typer

from nanoseg.cli import app
from tests.docs.texts import BLOCKS, COMMANDS, TEXTS
from tests.helpers.paths import ROOT

OURS = [
    (name, words)
    for name, words in COMMANDS
    if words[0].endswith("nanoseg")
    or (words[0] == "python" and (words[1].startswith("tools/") or words[2] == "nanoseg"))
]
# Files of a user's own in the lines of precision.md.
GIVEN = {"labels.json", "pictures/", "test.json", "test/", "detector_qat.onnx"}


def verb_of(words: list[str]) -> list[str]:
    """The arguments of nanoseg that a command line or a script of tools/ comes to."""
    if words[0] != "python":
        return words[1:]
    if words[1] == "-m":
        return words[3:]
    source = (ROOT / words[1]).read_text(encoding="utf-8")
    (verb,) = re.findall(r"run_command\(\[(.*?), \*sys\.argv\[1:\]\]\)", source)
    return [*re.findall(r'"([^"]+)"', verb), *words[2:]]


@pytest.mark.parametrize("words", [pytest.param(words, id=f"{name}: {' '.join(words)}"[:90]) for name, words in OURS])
def test_commands_are_accepted(words: list[str]) -> None:
    command, arguments = typer.main.get_command(app), verb_of(words)
    while hasattr(command, "commands"):
        command, name, arguments = command.commands[arguments[0]], arguments[0], arguments[1:]
        if not hasattr(command, "commands"):
            command.make_context(name, arguments)  # raises for flags, values and arguments that it does not take


def test_commands_are_there() -> None:
    assert {name for name, _ in OURS} >= {"README.md", "jetson.md", "precision.md", "weights.md"}
    assert len(OURS) > 50


def test_files_of_precision_are_made_before_they_are_used() -> None:
    made = set(GIVEN)
    for words in (words for name, words in OURS if name == "precision.md"):
        arguments = verb_of(words)
        if arguments[0] == "fetch":
            continue
        outs = {arguments[at + 1] for at, word in enumerate(arguments) if word in ("--out", "--report")}
        read = {word for word in arguments if re.search(r"\.(onnx|json)$|/$", word)} - outs
        read |= {arguments[at + 1] for at, word in enumerate(arguments) if word in ("--bundle", "--float")}
        assert read <= made, words
        made |= outs


@pytest.mark.parametrize(("name", "language", "block"), [each for each in BLOCKS if each[1] in ("python", "toml")])
def test_blocks_are_of_their_language(name: str, language: str, block: str) -> None:
    if language == "python":
        compile(block, name, "exec")
    else:
        msgspec.toml.decode(block)


@pytest.mark.parametrize("name", TEXTS)
def test_extras_are_those_of_the_package(name: str) -> None:
    extras = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["optional-dependencies"]
    named = {
        extra for group in re.findall(r"(?:nanoseg|\.)\[([a-z0-9,]+)\]", TEXTS[name]) for extra in group.split(",")
    }
    assert named <= set(extras)


@pytest.mark.parametrize("name", TEXTS)
def test_paths_exist(name: str) -> None:
    """Of the package, the tools, the benchmarks and the tests; as a whole or below nanoseg/."""
    rooms = ("nanoseg", "tools", "benchmarks", "tests", "docs")
    for path in re.findall(rf"`((?:{'|'.join(rooms)})/[\w/.-]*)`", TEXTS[name]):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", TEXTS[name]):
        assert any((base / path).exists() for base in (ROOT, ROOT / "nanoseg")), path
