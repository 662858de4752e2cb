"""Tables and figures in docs/: what the code holds."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest
import typer

from nanoseg.cli import app
from nanoseg.doctor.board import JETPACKS
from nanoseg.doctor.jetson_checks import SWAP
from nanoseg.engines.recipe import read_recipe
from tests.docs.texts import LINES, TEXTS, section
from tests.fakes.boards import BOARDS
from tests.helpers.paths import ROOT

JETSON = TEXTS["jetson.md"]
OF_THE_SHELL = "killed"  # among the messages: what the shell prints


def test_flags_of_build_are_all_documented() -> None:
    table = set(re.findall(r"^\| `(--[a-z0-9-]+)", JETSON, re.M))
    documented = table | set(re.findall(r"`(?:nanoseg build )?(--[a-z0-9-]+)", JETSON))
    known = {name for each in typer.main.get_command(app).commands["build"].params for name in each.opts}
    assert table <= known
    assert {name for name in known if name.startswith("--")} - {"--help", "--debug"} <= documented


def test_limits_of_build_are_the_recipes() -> None:
    frame, decoder = read_recipe("prepare").dimensions, read_recipe("segment").dimensions
    rows = "\n".join(line for line in JETSON.splitlines() if line.startswith("| `--max"))
    assert f"{frame['width'].max}x{frame['height'].max}" in rows
    assert re.search(rf"\b{decoder['prompts'].max}\b", rows)


def strings_of_the_code() -> list[str]:
    """All strings of nanoseg/, without what f-strings compute."""
    found = []
    for path in (ROOT / "nanoseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_messages_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (`[^|]*) \| [^|]+ \|$", section(JETSON, "When something fails"), re.M)
    messages = [words for row in rows for words in re.findall(r"`([^`]+)`", row) if words != OF_THE_SHELL]
    assert len(messages) > 12
    pieces = {piece.strip() for words in messages for piece in words.split("...")} - {""}
    strings = strings_of_the_code()
    assert not [piece for piece in pieces if not any(piece in each for each in strings)]


def test_jetpacks_are_those_of_doctor() -> None:
    rows = re.findall(r"^\| ([67][\d., ]+) \| ([\d., ]+) \|", JETSON, re.M)
    assert len(rows) == 3
    for jetpacks, releases in rows:
        series = tuple(f"{each.strip()}." for each in releases.split(","))
        for jetpack in jetpacks.split(","):
            found = [l4t for l4t, name in JETPACKS.items() if name == jetpack.strip()]
            assert found
            assert all(l4t.startswith(series) for l4t in found)


def test_swap_is_made_as_doctor_says() -> None:
    assert ("jetson.md", SWAP) in LINES


@pytest.mark.parametrize(("board", "mode"), [("orin-nano-super", "MAXN_SUPER"), ("agx-thor", "MAXN")])
def test_power_modes_are_found_by_their_name(board: str, mode: str) -> None:
    (line,) = [line for _, line in LINES if "$(sed " in line]
    conf = BOARDS / board / "etc/nvpmodel.conf"
    shown = line.replace("sudo nvpmodel -m", "echo").replace("/etc/nvpmodel.conf", str(conf))
    number = subprocess.check_output(["bash", "-c", shown.replace("MAXN_SUPER", mode)], text=True).strip()
    assert re.search(rf"^< POWER_MODEL ID={number} NAME={mode} >$", conf.read_text(), re.M)
