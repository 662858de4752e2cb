"""README.md and docs/*.md, with their blocks of lines to copy."""

from __future__ import annotations

import re
import shlex

from tests.helpers.paths import ROOT

PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
# (file, language, block without its indentation)
BLOCKS = [
    (name, language, "\n".join(line.removeprefix(indent) for line in block.splitlines()))
    for name, text in TEXTS.items()
    for indent, language, block in re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.M | re.S)
]
# (file, line) of the blocks without a language; a line that ends with a backslash goes on.
LINES = [
    (name, line.partition("  #")[0].strip())
    for name, language, block in BLOCKS
    if not language
    for line in block.replace("\\\n", " ").splitlines()
    if line
]
COMMANDS = [(name, shlex.split(line)) for name, line in LINES]


def section(text: str, heading: str) -> str:
    """The text below a heading of the second level."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
