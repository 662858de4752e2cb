"""`nanoseg doctor`: the findings for each machine."""

import json
import re

import pytest

from nanoseg.doctor import report
from nanoseg.doctor.report import doctor
from tests.doctor.probe_output import (
    BINDINGS,
    ENGINES,
    FULL,
    GOOD_ORIN,
    GOOD_PC,
    INT8_DETECTOR,
    NOT_BUILT,
    PC_BINDINGS,
    RUNTIME,
    findings,
)
from tests.fakes.boards import BUILT, ENGINE, HEALTHY, board


@pytest.mark.parametrize(
    ("name", "children", "installed", "keys"),
    [
        ("orin-nano-super", GOOD_ORIN, BINDINGS, {"power.capped", "memory.swap", "memory.desktop"}),
        ("agx-thor", {**GOOD_ORIN, FULL: {"version": "10.13.3.9"}}, BINDINGS, {"power.capped", "camera.none"}),
        ("desktop", GOOD_PC, PC_BINDINGS, {"camera.none"}),
        ("orin-nano-super", {}, BINDINGS, {"cuda.start", "tensorrt.missing", "power.capped", "memory.*"}),
        ("orin-nano-iso", {}, {}, {"cuda.*", "tensorrt.missing", "power.capped", "camera.none"}),
        ("agx-orin-jetpack-6.0", GOOD_ORIN, {}, {"jetpack.unsupported", "power.capped", "camera.none"}),
        ("xavier-nx-jetpack-5", {}, {}, {"jetpack.unsupported", "cuda.start", "memory.swap", "camera.none"}),
    ],
)
def test_diagnose_finds_exactly(name, children, installed, keys):
    found = findings(name, children, installed)
    for wanted in keys:
        assert any(re.fullmatch(wanted.replace(".*", r"\..*"), key) for key in found), (wanted, list(found))
    extra = [key for key in found if not any(re.fullmatch(each.replace(".*", r"\..*"), key) for each in keys)]
    assert not extra


ALL_VALID = {**GOOD_ORIN, **INT8_DETECTOR}


@pytest.mark.parametrize(
    ("name", "children", "installed", "key", "level", "effect"),
    [
        (
            *("orin-nano-super", {**ALL_VALID, RUNTIME: {"missing": True}}, {}, "onnxruntime.missing", "note"),
            "only bundles with valid engines run",
        ),
        (
            *("orin-nano-super", {**GOOD_ORIN, **NOT_BUILT, RUNTIME: {"missing": True}}, {}, "onnxruntime.missing"),
            *("error", "no bundle runs without engines of its own"),
        ),
        ("desktop", {RUNTIME: {"missing": True}}, {}, "onnxruntime.missing", "error", "no bundle runs"),
        (
            *("orin-nano-super", {**GOOD_ORIN, **NOT_BUILT, RUNTIME: {"missing": True}}, {}, "engines.none", "note"),
            "nothing else runs the bundle",
        ),
        (
            *("orin-nano-super", ALL_VALID, {"onnx": None}, "onnxruntime.onnx", "note"),
            "needs onnx to convert them to float32",
        ),
        (
            *("orin-nano-super", {**ALL_VALID, FULL: {"missing": True}}, {}, "tensorrt.missing", "note"),
            "no engines can be built here; existing ones run",
        ),
        ("desktop", {**GOOD_PC, RUNTIME: HEALTHY[RUNTIME]}, {}, "onnxruntime.cpu", None, ""),
    ],
)
def test_diagnose_level_depends_on_what_else_runs(name, children, installed, key, level, effect):
    found = findings(name, children, {**BINDINGS, **installed}).get(key)
    assert (found and found.level) == level
    assert found is None or effect in found.effect


def test_diagnose_needs_no_training_libraries_on_a_jetson():
    missing = dict.fromkeys(("torch", "modern-yolonas", "onnx", "matplotlib"))
    found = findings("orin-nano-super", installed=missing)
    assert "extra.bundle" in found
    assert not {"extra.export", "extra.quantize", "extra.train"} & set(found)
    assert {"extra.export", "extra.quantize", "extra.train"} <= set(findings("desktop", installed=missing))


@pytest.mark.parametrize("onnx", ["1.0", None])
def test_doctor_runs_on_of_a_reduced_bundle(capsys, onnx):
    """ONNX Runtime needs onnx to convert it to float32; its CUDA provider is no finding."""
    machine = board("desktop", {**GOOD_PC, **INT8_DETECTOR}, {**PC_BINDINGS, "onnx": onnx})
    assert doctor(True, machine=machine) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["runs_on"] == ["tensorrt", *(["onnxruntime-cuda", "onnxruntime"] if onnx else [])]
    built = {"graphs": {"detect": {**ENGINE, "precision": "int8", "valid": False, "why": "not built"}}}
    machine = board("desktop", {**GOOD_PC, ENGINES: {**BUILT, **built}}, {**PC_BINDINGS, "onnx": onnx})
    assert doctor(True, machine=machine) == (0 if onnx else 5)
    document = json.loads(capsys.readouterr().out)
    assert document["runs_on"] == (["onnxruntime-cuda", "onnxruntime"] if onnx else [])
    assert not any(finding["key"] == "onnxruntime.cpu" for finding in document["findings"])


def test_diagnose_needs_no_onnx_for_float_graphs():
    assert "onnxruntime.onnx" not in findings("orin-nano-super", installed={"onnx": None})


def test_diagnose_a_card_without_a_driver(tmp_path):
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    assert findings(tmp_path)["gpu.driver"].level == "warning"
    (device / "vendor").write_text("0x8086\n")
    assert not {"gpu.driver", "cuda.start", "tensorrt.missing"} & set(findings(tmp_path))


def test_diagnose_cameras(tmp_path):
    folder = tmp_path / "sys/class/video4linux/video0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("vi-output, imx219 9-0010\n")
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/nvargus-daemon").touch()
    found = findings(tmp_path)
    assert found["camera.access"].fix.startswith("sudo usermod -aG video")
    assert found["camera.argus"].fix == "sudo systemctl restart nvargus-daemon"
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/argus_socket").touch()
    assert "camera.argus" not in findings(tmp_path)


def test_diagnose_in_a_container(tmp_path):
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"nvidia,p3767-0003\0nvidia,tegra234\0")
    found = findings(tmp_path)
    for key in ("jetpack.unknown", "cuda.start", "camera.none"):
        assert found[key].fix.startswith("docker run ")
    assert "power.unknown" in found


def test_diagnose_a_board_flashed_without_super(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1")
    (tmp_path / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=15W >\n< PM_CONFIG DEFAULT=0 >\n")
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    assert "-super" in findings(tmp_path)["power.super"].fix


def test_diagnose_sorts_the_worst_first():
    levels = [finding.level for finding in findings("xavier-nx-jetpack-5", {RUNTIME: {"missing": True}}).values()]
    assert levels == sorted(levels, key=report.LEVELS.index)
    assert levels[0] == "error"
