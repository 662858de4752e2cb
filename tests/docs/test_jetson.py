"""docs/jetson.md: flags, defaults, messages and JetPack releases are those of the code."""

import re
import subprocess

import pytest

from nanoseg.doctor.board import JETPACKS
from nanoseg.doctor.jetson_checks import SWAP
from nanoseg.engines.recipe import read_recipe
from tests.docs.pages import JETSON, command_lines, find_verb, missing_messages, section
from tests.fakes.boards import BOARDS
from tests.helpers.paths import ROOT

SHELL = frozenset({"killed"})  # printed by the shell


def test_all_flags_of_build_are_described():
    table = set(re.findall(r"^\| `(--[a-z0-9-]+)", section(JETSON, "Build"), re.M))
    flags = {name for option in find_verb(["build"])[0].params for name in option.opts}
    described = table | set(re.findall(r"`(?:nanoseg build )?(--[a-z0-9-]+)", JETSON))
    assert table <= flags
    assert flags - {"--help", "-h"} <= described


def test_defaults_of_build():
    frame, decoder = read_recipe("prepare").dimensions, read_recipe("segment").dimensions
    assert f"by default {frame['width'].max}x{frame['height'].max}" in JETSON
    assert f"by default {decoder['prompts'].max}" in JETSON
    (decoder_row,) = re.findall(r"^\| `--max-objects N` .*", JETSON, re.M)
    sizes = [(int(mb), int(prompts)) for mb, prompts in re.findall(r"(\d+)(?: MB)? up to (\d+)", decoder_row)]
    text = (ROOT / "nanoseg/engines/recipes/segment.toml").read_text(encoding="utf-8")
    assert sizes == [(int(mb), int(prompts)) for prompts, mb in re.findall(r"\[(\d+), (\d+)\]", text)]


def test_messages_are_those_of_the_code():
    assert missing_messages(section(JETSON, "When something fails"), others=SHELL) == []


def test_jetpacks_are_those_that_doctor_knows():
    rows = re.findall(r"^\| ([67][\d., ]+) \| ([\d., ]+) \|", JETSON, re.M)
    assert len(rows) == 3
    for jetpacks, releases in rows:
        series = tuple(f"{each.strip()}." for each in releases.split(","))
        for jetpack in jetpacks.split(","):
            found = [l4t for l4t, name in JETPACKS.items() if name == jetpack.strip()]
            assert found
            assert all(l4t.startswith(series) for l4t in found)


def test_swap_is_added_as_doctor_says():
    assert SWAP in command_lines("docs/jetson.md")


@pytest.mark.parametrize(("board", "mode"), [("orin-nano-super", "MAXN_SUPER"), ("agx-thor", "MAXN")])
def test_power_modes_are_found_by_name(board, mode):
    (line,) = [line for line in command_lines("docs/jetson.md") if "$(sed " in line]
    conf = BOARDS / board / "etc/nvpmodel.conf"
    shown = line.replace("sudo nvpmodel -m", "echo").replace("/etc/nvpmodel.conf", str(conf))
    number = subprocess.check_output(["bash", "-c", shown.replace("MAXN_SUPER", mode)], text=True).strip()
    assert re.search(rf"^< POWER_MODEL ID={number} NAME={mode} >$", conf.read_text(), re.M)


def test_tensorrt_versions_are_those_with_a_recorded_api():
    recorded = {path.stem for path in (ROOT / "tests/data/tensorrt-api").glob("*.json")}
    assert recorded
    text = section(JETSON, "What was run where, and what never was")
    assert all(version.removeprefix("rtx-") in text for version in recorded)
