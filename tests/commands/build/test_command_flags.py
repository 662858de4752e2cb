"""`nanoseg build` as a command: JSON for machines, dry runs, its flags and its help."""

import json
import subprocess
import sys

import pytest

from nanoseg.commands.build import command as module
from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import EngineStore
from tests.commands.build.fake_builders import INPUTS, built, fake_builder_for, lines
from tests.fakes.tensorrt_builder import Script
from tests.helpers.engine_records import ORIN
from tests.helpers.paths import ROOT


def test_build_json_report(engines, bundle, capfd):
    builder = fake_builder_for(Script(INPUTS[:1], plan=b"12345", memory=77))
    options = BuildOptions(engines=engines, only=["prepare"], json=True)
    folder = EngineStore(engines).folder("parts", ORIN)
    for first in (True, False):
        assert build(options, builder) == 0
        printed = json.loads(capfd.readouterr().out)
        (engine,) = printed.pop("engines")
        seconds = (printed.pop("seconds"), engine.pop("seconds"))
        assert seconds[0] >= 0
        assert (seconds[1] is None) == (not first)
        assert printed == {
            "bundle": "parts",
            "version": bundle.version,
            "target": "tensorrt",
            "tensorrt": "10.3.0",
            "gpu": "Orin 8GB",
            "folder": str(folder),
            "dry_run": False,
        }
        assert engine == {
            "graph": "prepare",
            "built": first,
            "file": str(folder / "prepare.engine"),
            "bytes": 5,
            "device_memory_bytes": 77,
            "precision": "fp32",
            "recipe": str(ROOT / "nanoseg" / "engines" / "recipes" / "prepare.toml"),
            "workspace_mb": 512,
            "tf32": True,
            "version_compatible": False,
            "int8_expanded": False if first else None,
            "profiles": {"frame": {"min": [1, 120, 160, 3], "opt": [1, 720, 1280, 3], "max": [1, 1080, 1920, 3]}},
        }


@pytest.mark.parametrize("here", [ORIN, None])
def test_build_dry_run_stores_and_loads_nothing(here, engines, bundle, capfd):
    builder = fake_builder_for(Script(loads=False), here)
    assert build(BuildOptions(engines=engines, dry_run=True), builder) == 0
    assert built(builder) == len(bundle.graphs)
    assert not engines.exists()
    printed = lines(capfd)
    assert printed[0].endswith(": engines with TensorRT 10.3.0, built and discarded")
    assert printed[-1].endswith("; nothing was kept, because of --dry-run")


def test_build_dry_run_with_real_library(call, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    flags = ("--target", "tensorrt-rtx", "--dry-run", "--only", "prepare", "--engines", tmp_path / "e", "--json")
    code, out, err = call("build", *flags)
    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert (printed["target"], printed["gpu"], printed["folder"], printed["dry_run"]) == (
        "tensorrt-rtx",
        None,
        None,
        True,
    )
    assert printed["engines"][0]["bytes"] > 100_000
    assert not (tmp_path / "e").exists()


def test_build_flags_reach_the_options(call, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(module, "build", lambda options: seen.append(options) or 130)
    flags = "--bundle b --target tensorrt --max-frame 640x480 --max-objects 3 --workspace 9 --only detect --only embed"
    switches = ("--force", "--dry-run", "--expand-int8", "--json")
    assert call("build", *flags.split(), *switches, "--engines", tmp_path) == (130, "", "")
    assert call("build")[0] == 130
    given = BuildOptions(
        bundle="b",
        target="tensorrt",
        engines=tmp_path,
        max_frame="640x480",
        max_objects=3,
        workspace_mb=9,
        only=["detect", "embed"],
        force=True,
        dry_run=True,
        expand_int8=True,
        json=True,
    )
    assert seen == [given, BuildOptions(only=())]


def test_build_help(call):
    code, out, err = call("build", "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    assert "  nanoseg build" in out


def test_build_tool_calls_the_verb():
    tool = [sys.executable, "tools/build_engines.py", "--only", "polish"]
    done = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nanoseg: error: --only: parts has no graph polish")
