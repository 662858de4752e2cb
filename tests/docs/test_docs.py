"""docs/*.md: lines to copy are taken by the verbs they name; what is quoted is what the code says."""

import ast
import re
import shlex
import subprocess
from functools import cache

import msgspec
import pytest
import typer

from nanoseg.cli import app
from nanoseg.doctor.board import JETPACKS
from nanoseg.doctor.jetson_checks import SWAP
from nanoseg.engines.recipe import read_recipe
from tests.fakes.boards import BOARDS
from tests.helpers.paths import ROOT

# architecture.md is for who changes nanoseg: it has hardly a line to copy, and tests of its own.
TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").glob("*.md"))
    if path.name != "architecture.md"
}
BLOCKS = [
    (name, kind, [line.removeprefix(indent) for line in block.splitlines()])
    for name, text in TEXTS.items()
    for indent, kind, block in re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.M | re.S)
]
LINES = [(name, line) for name, kind, block in BLOCKS if not kind for line in block]
OURS = [(name, shlex.split(line)) for name, line in LINES if line.split()[0] == "nanoseg"]
JETSON, PRECISION = TEXTS["jetson.md"], TEXTS["precision.md"]
# Of the system, on a Jetson; each was looked up, and doctor prints some of them.
SYSTEM = ("cat", "echo", "grep", "python3", "scp", "ssh", "sudo")
GIVEN = {"labels.json", "pictures/", "test.json", "test/", "detector_qat.onnx"}  # a user's own
NO_ERROR = "killed"  # what the shell says, not we


@pytest.mark.parametrize("name", TEXTS)
def test_every_line_is_one_of_these(name):
    lines = [line for where, line in LINES if where == name]
    assert len(lines) > 10, name
    for line in lines:
        words = shlex.split(line)
        known = words[:2] in (["pip", "install"], [".", ".venv/bin/activate"]) or words[0] == "nanoseg"
        assert known or (name == "jetson.md" and words[0] in SYSTEM), line


@pytest.mark.parametrize("line", [pytest.param(line, id=f"{name}: {' '.join(line)}"[:90]) for name, line in OURS])
def test_the_command_takes_it(line):
    words, command = line[1:], typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("verb", words)  # raises for flags, values and arguments that it does not take


def test_files_are_made_before_they_are_used():
    made = set(GIVEN)
    for line in (words for name, words in OURS if name == "precision.md"):
        outs = {line[at + 1] for at, word in enumerate(line) if word in ("--out", "--report")}
        if line[1] == "fetch":
            continue  # held by test_weights.py
        read = {word for word in line[2:] if re.search(r"\.(onnx|json)$|/$", word)} - outs
        read |= {line[at + 1] for at, word in enumerate(line) if word in ("--bundle", "--float")}
        assert read <= made, line
        made |= outs


@pytest.mark.parametrize("name", TEXTS)
def test_blocks_are_what_they_say(name):
    for where, kind, block in BLOCKS:
        if where == name and kind == "python":
            compile("\n".join(block), f"docs/{name}", "exec")
        if where == name and kind == "toml":
            msgspec.toml.decode("\n".join(block))


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)\s]*)\)", TEXTS[name]):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = ROOT / "docs" / (path or name)
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", TEXTS)
def test_extras_are_nanosegs(name):
    extras = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["optional-dependencies"]
    told = re.findall(r"(?:nanoseg|\.)\[([a-z0-9,]+)\]", TEXTS[name])
    assert told
    assert {extra for group in told for extra in group.split(",")} <= set(extras)


def test_all_flags_of_build_are_told():
    table = set(re.findall(r"^\| `(--[a-z0-9-]+)", JETSON, re.M))
    told = table | set(re.findall(r"`(?:nanoseg build )?(--[a-z0-9-]+)", JETSON))
    known = {name for each in typer.main.get_command(app).commands["build"].params for name in each.opts}
    assert table <= known
    assert known - {"--help", "--debug"} <= told


def test_defaults_of_build():
    frame, decoder = read_recipe("prepare").dimensions, read_recipe("segment").dimensions
    assert f"by default {frame['width'].max}x{frame['height'].max}" in JETSON
    assert f"by default {decoder['prompts'].max}" in JETSON


def test_what_can_go_wrong_is_said_so_by_the_code():
    rows = re.findall(r"^\| (`[^|]*) \| [^|]+ \|$", section(JETSON, "When something fails"), re.M)
    quoted = [words for row in rows for words in re.findall(r"`([^`]+)`", row) if words != NO_ERROR]
    assert len(quoted) > 12
    for words in quoted:
        for piece in filter(None, (each.strip() for each in words.split("..."))):
            assert any(piece in said for said in said_by_the_code()), f"nobody says: {piece}"


def test_jetpacks_are_those_that_doctor_knows():
    rows = re.findall(r"^\| ([67][\d., ]+) \| ([\d., ]+) \|", JETSON, re.M)
    assert len(rows) == 3
    for jetpacks, releases in rows:
        series = tuple(f"{each.strip()}." for each in releases.split(","))
        for jetpack in jetpacks.split(","):
            found = [l4t for l4t, name in JETPACKS.items() if name == jetpack.strip()]
            assert found
            assert all(l4t.startswith(series) for l4t in found)


def test_swap_is_made_as_doctor_says():
    assert ("jetson.md", SWAP) in LINES


@pytest.mark.parametrize(("board", "mode"), [("orin-nano-super", "MAXN_SUPER"), ("agx-thor", "MAXN")])
def test_power_modes_are_found_by_their_name(board, mode):
    (line,) = [line for _, line in LINES if "$(sed " in line]
    conf = BOARDS / board / "etc/nvpmodel.conf"
    shown = line.replace("sudo nvpmodel -m", "echo").replace("/etc/nvpmodel.conf", str(conf))
    number = subprocess.check_output(["bash", "-c", shown.replace("MAXN_SUPER", mode)], text=True).strip()
    assert re.search(rf"^< POWER_MODEL ID={number} NAME={mode} >$", conf.read_text(), re.M)


def test_apis_that_were_looked_at():
    recorded = {path.stem for path in (ROOT / "tests/data/tensorrt-api").glob("*.json")}
    told = section(JETSON, "What was run where, and what never was")
    for version in recorded:
        assert version.removeprefix("rtx-") in told


def section(text, heading):
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def anchors(path):
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def said_by_the_code():
    """All strings of nanoseg/, the parts that are computed left out."""
    said = []
    for path in (ROOT / "nanoseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said += [part.value for part in node.values if isinstance(part, ast.Constant)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    return tuple(said)
