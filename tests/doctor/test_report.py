"""`nanoseg doctor`: its report as JSON and as text, and the exit code."""

import json

import pytest

from nanoseg.doctor import report, state
from nanoseg.doctor.machine import CommandResult
from nanoseg.doctor.report import doctor
from nanoseg.errors import BundleError
from tests.doctor.probe_output import (
    BINDINGS,
    CUDA,
    CV2,
    ENGINES,
    FULL,
    GOOD_ORIN,
    GOOD_PC,
    INT8,
    NOT_BUILT,
    RTX,
    RUNTIME,
)
from tests.fakes.boards import BOARDS, HEALTHY, ORIN, ORIN_STARTS, board


@pytest.mark.parametrize(
    ("name", "children", "code", "runs_on", "builds"),
    [
        ("orin-nano-super", GOOD_ORIN, 0, ["tensorrt", "onnxruntime"], ["tensorrt"]),
        ("orin-nano-super", {**GOOD_ORIN, **NOT_BUILT}, 0, ["onnxruntime"], ["tensorrt"]),
        ("orin-nano-super", {**GOOD_ORIN, ENGINES: {"error": "it broke"}}, 0, ["onnxruntime"], ["tensorrt"]),
        ("orin-nano-super", {**GOOD_ORIN, RUNTIME: {"missing": True}}, 0, ["tensorrt"], ["tensorrt"]),
        ("orin-nano-super", {**GOOD_ORIN, **NOT_BUILT, RUNTIME: {"missing": True}}, 5, [], ["tensorrt"]),
        ("xavier-nx-jetpack-5", {}, 0, ["onnxruntime"], []),
        ("desktop", GOOD_PC, 0, ["tensorrt", "onnxruntime-cuda", "onnxruntime"], ["tensorrt-rtx"]),
        ("desktop", {**GOOD_PC, **NOT_BUILT}, 0, ["onnxruntime-cuda", "onnxruntime"], ["tensorrt-rtx"]),
        ("desktop", {**GOOD_PC, CUDA: HEALTHY[CUDA]}, 0, ["onnxruntime"], ["tensorrt-rtx"]),
        ("desktop", {RUNTIME: {"missing": True}}, 5, [], []),
        ("orin-nano-super", {**GOOD_ORIN, CV2: CommandResult("", "python3: ended by SIGILL")}, 5, [], ["tensorrt"]),
        ("desktop", {CV2: CommandResult("", "python3: no answer in 60 s", timed_out=True)}, 5, [], []),
    ],
)
def test_doctor_runs_on_and_exit_code(capsys, name, children, code, runs_on, builds):
    machine = board(name, children)
    assert doctor(True, machine=machine) == code
    document = json.loads(capsys.readouterr().out)
    assert (document["runs_on"], document["builds"], document["can_run"]) == (runs_on, builds, code == 0)
    assert any(finding["level"] == "error" for finding in document["findings"]) == (code == 5 or "xavier" in name)
    assert doctor(False, machine=machine) == code


KEYS = {
    "nanoseg can_run runs_on builds board power system python memory nvidia tensorrt onnxruntime opencv cameras "
    "libraries packages bundle findings self_test": None,
    "board": "name jetson chip module super l4t jetpack jetpack_package supported",
    "power": "mode source modes",
    "system": "name kernel architecture cpus container",
    "python": "version executable virtual sees_system",
    "memory": "total_mb available_mb swaps desktop",
    "nvidia": "gpus driver cuda cuda_error toolkit card",
    "tensorrt": "kind module version error",
    "onnxruntime": "version error providers pip",
    "opencv": "version error path gstreamer pip system",
    "cameras": "devices argus",
    "bundle": "name version error device kind graphs engines engines_error",
    "findings": "key level problem effect fix",
    "self_test": "bundle int8_constants",
}


@pytest.mark.parametrize("name", sorted(path.name for path in BOARDS.iterdir() if path.is_dir()))
def test_doctor_json_keeps_its_keys(capsys, name):
    children = {**GOOD_ORIN, INT8: {"builds": True, "why": "", "seconds": 1.5}}
    doctor(True, True, board(name, children))
    document = json.loads(capsys.readouterr().out)
    for where, keys in KEYS.items():
        value = document if keys is None else document[where]
        for each in value if isinstance(value, list) else [value]:
            assert set(each) == set((keys or where).split())
    assert document["self_test"]["bundle"]["frame_ms"] == 250.5
    assert (document["self_test"]["bundle"]["mapped"], document["self_test"]["bundle"]["not_captured"]) == (None, None)
    (int8_test,) = document["self_test"]["int8_constants"]
    assert int8_test == {"module": "tensorrt", "version": "10.3.0", "builds": True, "why": "", "seconds": 1.5}
    assert {"kind": "tensorrt", "module": "tensorrt", "version": "10.3.0", "error": None} in document["tensorrt"]
    assert document["libraries"]["pycuda"] is None


def test_doctor_prints_text(capsys):
    children = {
        **GOOD_ORIN,
        CUDA: {**ORIN_STARTS, "devices": [{**ORIN, "name": "Or\x1b[2Jin"}]},
        INT8: {"builds": True},
    }
    assert doctor(False, True, board("orin-nano-super", children, BINDINGS)) == 0
    out = capsys.readouterr().out
    for line in (
        "on NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "p3767-0005 tegra234",
        "15W (others: 25W, MAXN_SUPER, 7W)",
        "JetPack 6.2 (L4T 36.4.3), package nvidia-jetpack 6.2",
        "tensorrt 10.3.0, tensorrt-lean 10.3.0",
        r"Or\x1b[2Jin, compute capability 8.7, 7.4 GiB, memory shared with the CPU",
        "up to 12.6, driver 540.4.0, toolkit 12.6.11",
        "7.4 GiB, 4.7 GiB free; swap: 3.7 GiB zram",
        "4.8.0 with GStreamer 1.20.3, /cv2.py",
        "1.23.2: CPU",
        "/dev/video1  csi  imx219 10-0010",
        "1 of 1 valid for Orin 8GB (sm87) with TensorRT 10.3.0",
        "250.5 ms per frame on CPU, 6 threads (onnxruntime; loading 700.0 ms, first frame 300.5 ms); 5 of 5 parts",
        "tensorrt 10.3.0 builds weights stored in INT8",
        "\nwarning: 8 GB of memory or less, and no swap on a disk",
        "\nnote: the power mode is 15W, not MAXN_SUPER\n  effect  clocks",
        "\n  fix     sudo nvpmodel -m 2   # MAXN_SUPER on this board\n",
    ):
        assert line in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("name", "children", "row"),
    [
        ("no GPU", {RTX: {"version": "1.7.1"}}, "no engines; tensorrt-rtx can check graphs with --dry-run"),
        ("no GPU", {FULL: {"version": "10.3.0"}}, "no engines"),
        ("desktop", GOOD_PC, "tensorrt-rtx"),
    ],
)
def test_doctor_prints_a_row_of_targets(capsys, name, children, row):
    doctor(machine=board(name, children))
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  builds")]
    assert rows == [["builds", row]]


def test_doctor_prints_undecodable_paths(capsys):
    machine = board("desktop", {CV2: {**HEALTHY[CV2], "path": "/home/m\udce9/cv2.py"}})
    assert doctor(True, machine=machine) == 0
    assert json.loads(capsys.readouterr().out)["opencv"]["path"] == r"/home/m\xe9/cv2.py"
    assert doctor(False, machine=machine) == 0
    assert r"/home/m\xe9/cv2.py" in capsys.readouterr().out


def test_doctor_reports_a_damaged_bundle(capsys, monkeypatch):
    def damaged(name):
        raise BundleError("detect.onnx: wanted sha256 1, got 2")

    monkeypatch.setattr(state, "open_bundle", damaged)
    assert doctor(False, machine=board("desktop")) == 0  # another bundle can run
    out = capsys.readouterr().out
    assert "error: detect.onnx: wanted sha256 1, got 2" in out
    assert "copy the checkout of nanoseg again" in out


def test_doctor_command_passes_its_flags(call, monkeypatch):
    calls = []

    def fake(*arguments, **keywords):
        calls.append((*arguments, *keywords.values()))
        return 5

    monkeypatch.setattr(report, "doctor", fake)
    assert call("doctor", "--json", "--self-test") == (5, "", "")
    assert call("doctor", "--bundle", "nuts")[0] == 5
    assert calls == [(True, True, "parts"), (False, False, "nuts")]
    code, out, err = call("doctor", "--help")
    assert (code, err) == (0, "")
    assert "  nanoseg doctor --self-test" in out


def test_doctor_on_this_machine(call):
    """It prints a document, returns a known exit code and leaves stderr empty."""
    code, out, err = call("doctor", "--json")
    document = json.loads(out)
    assert (code, err) == (0 if document["can_run"] else 5, "")
    assert document["libraries"]["numpy"]
    assert document["system"]["cpus"] >= 1
