"""The pages of the documentation, cut into code blocks, commands, messages and links."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from typing import NamedTuple

import typer

from nanoseg.cli import app
from tests.helpers.paths import ROOT


class Block(NamedTuple):
    """A fenced code block."""

    page: str
    language: str  # "" for commands
    text: str


PAGES = {
    path: (ROOT / path).read_text(encoding="utf-8")
    for path in (
        "README.md",
        "CONTRIBUTING.md",
        "engines/README.md",
        "benchmarks/results/README.md",
        *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    )
}
GUIDES = ("docs/jetson.md", "docs/precision.md", "docs/weights.md")  # pages of commands, in the order they are typed
JETSON, PRECISION, WEIGHTS = (PAGES[page] for page in GUIDES)
ARCHITECTURE = PAGES["docs/architecture.md"]


def _blocks(page: str) -> list[Block]:
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", PAGES[page], re.M | re.S)
    return [Block(page, language, re.sub(rf"^{indent}", "", text, flags=re.M)) for indent, language, text in found]


BLOCKS = [block for page in PAGES for block in _blocks(page)]


def command_lines(page: str) -> list[str]:
    """Return the lines of a page's blocks of commands; continued ones are joined."""
    blocks = [block.text.replace("\\\n", "") for block in BLOCKS if block.page == page and not block.language]
    return [line for text in blocks for line in text.splitlines() if line]


def nanoseg_commands(page: str) -> list[list[str]]:
    """Return the arguments of nanoseg in a page's command lines, those of the scripts in tools/ included."""
    lines = [shlex.split(re.sub(r" > \S+$", "", line), comments=True) for line in command_lines(page)]
    return [words for words in map(_arguments, filter(None, lines)) if words is not None]


def _arguments(words: list[str]) -> list[str] | None:
    if words[0] in ("nanoseg", ".venv/bin/nanoseg"):
        return words[1:]
    if words[0] in ("python", ".venv/bin/python"):
        if words[1:3] == ["-m", "nanoseg"]:
            return words[3:]
        if words[1].startswith("tools/"):
            source = (ROOT / words[1]).read_text(encoding="utf-8")
            (verb,) = re.findall(r"    main\((.*?)\)", source)
            return [*re.findall(r'"([^"]+)"', verb), *words[2:]]
    return None


def find_verb(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """Return the command that a command line calls, and its arguments."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if command.invoke_without_command and words[0] not in command.commands:
            break  # a verb with verbs of its own beside it
        command, words = command.commands[words[0]], words[1:]
    return command, words


@cache
def all_flags() -> set[str]:
    """Return every flag of every verb."""

    def flags(command) -> set[str]:
        own = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        return own.union(*(flags(each) for each in getattr(command, "commands", {}).values()))

    return flags(typer.main.get_command(app))


def inline_code(text: str) -> list[str]:
    """Return what is in single backticks outside of code blocks."""
    return re.findall(r"`([^`]+)`", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S))


def section(text: str, heading: str) -> str:
    """Return a section of the second level without its heading."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def headings(text: str) -> list[str]:
    """Return the headings of all levels, those of code blocks left out."""
    return re.findall(r"^#+ (.*)", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S), re.M)


@cache
def messages_of_the_code() -> tuple[str, ...]:
    """Return all strings of nanoseg/ without docstrings; of f-strings the constant parts."""
    found = []
    for path in (ROOT / "nanoseg").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
        ]
    return tuple(found)


def missing_messages(table: str, *, others: frozenset[str] = frozenset()) -> list[str]:
    """Return the quotations in a table's first column that no string of nanoseg/ contains; `...` matches anything."""
    rows = re.findall(r"^\| ([^|]*`[^|]*) \| [^|]+ \|$", table, re.M)
    quoted = [words for row in rows for words in re.findall(r"`([^`]+)`", row) if words not in others]
    assert len(quoted) >= 6
    pieces = [piece.strip() for words in quoted for piece in words.split("...")]
    return [piece for piece in pieces if not any(piece in message for message in messages_of_the_code())]
