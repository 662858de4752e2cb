"""`nanoseg doctor`: what is found, what it costs, what mends it, and the exit code."""

import dataclasses
import json
import re
from functools import cache

import pytest

from nanoseg.bundle import open_bundle
from nanoseg.doctor import facts, report
from nanoseg.doctor.machine import Answer
from nanoseg.doctor.report import diagnose, doctor
from nanoseg.doctor.system import Python
from nanoseg.errors import BundleError
from tests.boards import BOARDS, BUILT, BUILT_WITH, ENGINE, ORIN, ORIN_STARTS, WELL, board

OPENED = cache(open_bundle)
CV2, RUNTIME = "nanoseg.doctor.probe cv2", "nanoseg.doctor.probe onnxruntime"
CUDA, ENGINES = "nanoseg.backends.probe cuda", "nanoseg.doctor.probe engines parts"
FULL, LEAN, RTX = (f"nanoseg.backends.probe version tensorrt{end}" for end in ("", "_lean", "_rtx"))
TRY, INT8 = "nanoseg.doctor.self_test", "nanoseg.backends.probe int8 tensorrt"
NO_GSTREAMER = {"version": "4.12.0", "path": "/venv/cv2.py", "build": BUILT_WITH.format("NO")}
BINDINGS = {"cuda-bindings": "12.9.4"}
GOOD_ORIN = {CUDA: ORIN_STARTS, FULL: {"version": "10.3.0"}, LEAN: {"version": "10.3.0"}}
RTX_4070 = {"name": "NVIDIA GeForce RTX 4070", "compute_capability": "8.9", "memory_mb": 12281, "shared": False}
GOOD_PC = {
    CUDA: {"driver": "13.3", "devices": [RTX_4070], "error": None},
    RTX: {"version": "1.7.1.116"},
    RUNTIME: {"version": "1.23.2", "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]},
}
PC_BINDINGS = {"cuda-bindings": "13.1.0"}
NOT_BUILT = {ENGINES: {**BUILT, "graphs": {"detect": {**ENGINE, "valid": False, "why": "not built"}}}}
INT8_DETECTOR = {ENGINES: {**BUILT, "graphs": {"detect": {**ENGINE, "precision": "int8"}}}}


@pytest.fixture(autouse=True)
def opened_once(monkeypatch):
    """The embedded bundle's files are held against their sha256 once, not once a test."""
    monkeypatch.setattr(facts, "open_bundle", OPENED)


def findings(name, children=None, installed=None, python=None, tried=None):
    seen = Python("3.10.12", "/usr/bin/python3", False, True) if python is None else python
    found = dataclasses.replace(facts.gather(board(name, children, installed)), python=seen)
    return {finding.key: finding for finding in diagnose(found, tried)}


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
def test_what_is_found(name, children, installed, keys):
    found = findings(name, children, installed)
    for wanted in keys:
        assert any(re.fullmatch(wanted.replace(".*", r"\..*"), key) for key in found), (wanted, list(found))
    extra = [key for key in found if not any(re.fullmatch(each.replace(".*", r"\..*"), key) for each in keys)]
    assert not extra


SHADOWED = {**GOOD_ORIN, CV2: NO_GSTREAMER}
NO_OPENCV = {**GOOD_ORIN, CV2: {"missing": True}}
VENV = Python("3.10.12", "/venv/bin/python", True, False)


@pytest.mark.parametrize(
    ("name", "children", "installed", "python", "key", "level", "what", "mend"),
    [
        ("orin-nano-super", {}, {}, None, "power.capped", "note", "15W, not MAXN_SUPER", "sudo nvpmodel -m 2   #"),
        ("agx-thor", {}, {}, None, "power.capped", "note", "120W, not MAXN", "sudo nvpmodel -m 0   #"),
        ("orin-nano-super", {}, {}, None, "memory.swap", "warning", "zram", "sudo mkswap /swapfile"),
        ("orin-nano-super", {}, {}, None, "tensorrt.missing", "warning", "not there", "--system-site-packages"),
        ("orin-nano-iso", {}, {}, None, "tensorrt.missing", "warning", "not there", "apt install nvidia-jetpack"),
        ("orin-nano-iso", {}, {}, None, "cuda.bindings.missing", "warning", "not installed", "nanoseg[cuda13]"),
        ("orin-nano-super", {}, {}, None, "cuda.bindings.missing", "warning", "not installed", "nanoseg[cuda12]"),
        (
            *("orin-nano-super", GOOD_ORIN, {"pycuda": "2026.1"}, None),
            *("cuda.bindings.missing", "note", "only pycuda", "nanoseg[cuda12]"),
        ),
        (
            "orin-nano-super",
            *(GOOD_ORIN, PC_BINDINGS, None, "cuda.bindings.newer", "warning", "driver's 12.6", "nanoseg[cuda12]"),
        ),
        (
            "orin-nano-super",
            {**GOOD_ORIN, CUDA: {"driver": "12.6", "devices": [], "error": "CUDA_ERROR_UNKNOWN"}},
            *({}, None, "cuda.start", "warning", "CUDA_ERROR_UNKNOWN", "usermod -aG video,render"),
        ),
        (
            "agx-orin-jetpack-6.0",
            *({}, {}, None, "jetpack.unsupported", "error", "JetPack 6.0 (L4T 36.3.0) is out of scope", "JetPack 6.2"),
        ),
        (
            "xavier-nx-jetpack-5",
            *({}, {}, None, "jetpack.unsupported", "error", "JetPack 5.1.2 (L4T 35.4.1)", "an Orin or a Thor"),
        ),
        (
            "orin-nano-super",
            {**GOOD_ORIN, FULL: {"error": "ImportError: libnvinfer.so.10: cannot open shared object file"}},
            *({}, None, "tensorrt.full.broken", "warning", "libnvinfer.so.10", "--system-site-packages"),
        ),
        (
            "desktop",
            {**GOOD_PC, RTX: {"missing": True}, FULL: {"version": "8.6.1"}},
            *({}, None, "tensorrt.full.old", "warning", "8.6.1 is too old", "pip install --upgrade tensorrt-rtx-cu12"),
        ),
        (
            "orin-nano-iso",
            {**GOOD_ORIN, **NOT_BUILT, FULL: {"missing": True}, RTX: {"version": "1.7.1"}},
            *({}, None, "tensorrt.missing", "warning", "the lean runtime, which builds nothing", "nvidia-jetpack"),
        ),
        (
            "orin-nano-iso",
            {**NOT_BUILT, CUDA: ORIN_STARTS, RTX: {"version": "1.7.1"}},
            *({}, None, "tensorrt.missing", "warning", "RTX, which does not know this GPU", "nvidia-jetpack"),
        ),
        (
            "orin-nano-super",
            *(SHADOWED, {"opencv-python": "4.12.0.88"}, None),
            *(
                "opencv.shadowed",
                "warning",
                "shadows the system's in /usr/lib/python3.10",
                "pip uninstall -y opencv-python",
            ),
        ),
        (
            "orin-nano-super",
            *(SHADOWED, {"opencv-python": "4.12.0.88"}, VENV),
            *(
                "opencv.shadowed",
                "warning",
                "without GStreamer",
                "opencv-python && python3 -m venv --system-site-packages",
            ),
        ),
        ("agx-thor", SHADOWED, {}, None, "opencv.gstreamer", "warning", "without", "apt install python3-opencv"),
        ("desktop", {CV2: NO_GSTREAMER}, {}, None, "opencv.gstreamer", "note", "without", "python3-opencv"),
        ("desktop", {CV2: {"missing": True}}, {}, None, "opencv.missing", "error", "not there", "nanoseg[opencv]"),
        ("orin-nano-super", NO_OPENCV, {}, VENV, "opencv.missing", "error", "not there", "--system-site-packages"),
        ("orin-nano-iso", NO_OPENCV, {}, None, "opencv.missing", "error", "not there", "nvidia-jetpack"),
        (
            "orin-nano-super",
            *({CV2: {"error": "numpy.core.multiarray failed to import"}}, {}, None),
            *("opencv.missing", "error", "multiarray", 'pip install "numpy<2"'),
        ),
        (
            "desktop",
            *({CV2: {"error": "libGL.so.1: cannot open shared object file"}}, {}, None),
            *("opencv.missing", "error", "libGL.so.1", "apt install libgl1"),
        ),
        (
            "desktop",
            *({}, {"opencv-python": "4", "opencv-python-headless": "4"}, None),
            *("opencv.twice", "warning", "both installed", "pip uninstall -y opencv-python opencv-python-headless"),
        ),
        ("desktop", {RUNTIME: {"missing": True}}, {}, None, "onnxruntime.missing", "error", "not inst", "nanoseg[cpu]"),
        (
            *("desktop", {RUNTIME: {"error": "bad ELF"}}, {}, None, "onnxruntime.missing", "error", "bad ELF"),
            "pip install --force-reinstall --no-deps onnxruntime",
        ),
        (
            *("desktop", {RUNTIME: {"error": "bad ELF"}}, {"onnxruntime": None, "onnxruntime-gpu": "1.23"}, None),
            *("onnxruntime.missing", "error", "bad ELF", "pip install --force-reinstall --no-deps onnxruntime-gpu"),
        ),
        (
            *("desktop", {**GOOD_PC, **NOT_BUILT, RUNTIME: WELL[RUNTIME]}, {}, None),
            *("onnxruntime.cpu", "note", "GPU", "nanoseg[gpu]"),
        ),
        ("desktop", {}, {"onnxruntime-gpu": "1.23"}, None, "onnxruntime.twice", "warning", "both", "nanoseg[gpu]"),
        (
            "orin-nano-super",
            *(INT8_DETECTOR, {"onnx": None}, None),
            *("onnxruntime.onnx", "error", "graphs in INT8 or FP16: detect", 'pip install "nanoseg[cpu]"'),
        ),
        (
            "desktop",
            {ENGINES: {**BUILT, "graphs": {"embed": {**ENGINE, "precision": "fp16"}}}},
            *({"onnx": None, "onnxruntime": None, "onnxruntime-gpu": "1.23"}, None),
            *("onnxruntime.onnx", "error", "graphs in INT8 or FP16: embed", 'pip install "nanoseg[gpu]"'),
        ),
        ("desktop", {}, {"torch": None}, None, "extra.export", "note", "torch is not installed", "nanoseg[export]"),
        (
            "agx-thor",
            {},
            {"av": None, "supervision": None},
            None,
            "extra.draw",
            "note",
            "supervision, av are",
            "[draw]",
        ),
    ],
)
def test_what_mends_it(name, children, installed, python, key, level, what, mend):
    found = findings(name, children, installed, python)
    assert key in found, list(found)
    assert found[key].level == level
    assert what in found[key].what
    assert mend in found[key].mend
    assert found[key].costs


ALL_VALID = {**GOOD_ORIN, **INT8_DETECTOR}


@pytest.mark.parametrize(
    ("name", "children", "installed", "key", "level", "costs"),
    [
        (
            *("orin-nano-super", {**ALL_VALID, RUNTIME: {"missing": True}}, {}, "onnxruntime.missing", "note"),
            "only bundles run that have valid engines: none does while its engines are built anew",
        ),
        (
            *("orin-nano-super", {**GOOD_ORIN, **NOT_BUILT, RUNTIME: {"missing": True}}, {}, "onnxruntime.missing"),
            *("error", "no bundle runs without engines of its own"),
        ),
        ("desktop", {RUNTIME: {"missing": True}}, {}, "onnxruntime.missing", "error", "no bundle runs"),
        (
            *("orin-nano-super", {**GOOD_ORIN, **NOT_BUILT, RUNTIME: {"missing": True}}, {}, "engines.none", "note"),
            "TensorRT has nothing to run; nothing else runs the bundle",
        ),
        (
            *("orin-nano-super", ALL_VALID, {"onnx": None}, "onnxruntime.onnx", "note"),
            "ONNX Runtime runs them only once onnx has turned them into float32",
        ),
        (
            *("orin-nano-super", {**ALL_VALID, FULL: {"missing": True}}, {}, "tensorrt.missing", "note"),
            "no engines are built here: only those that are there run",
        ),
        ("desktop", {**GOOD_PC, RUNTIME: WELL[RUNTIME]}, {}, "onnxruntime.cpu", None, ""),
    ],
)
def test_what_weighs_less_where_engines_run(name, children, installed, key, level, costs):
    found = findings(name, children, {**BINDINGS, **installed}).get(key)
    assert (found and found.level, found.costs if found else "") == (level, costs)


def test_what_trains_and_exports_is_not_missed_on_a_jetson():
    missing = dict.fromkeys(("torch", "modern-yolonas", "onnx", "matplotlib"))
    found = findings("orin-nano-super", installed=missing)
    assert "extra.bundle" in found
    assert not {"extra.export", "extra.quantize", "extra.train"} & set(found)
    assert {"extra.export", "extra.quantize", "extra.train"} <= set(findings("desktop", installed=missing))


@pytest.mark.parametrize("onnx", ["1.0", None])
def test_what_runs_a_reduced_bundle(capsys, onnx):
    """ONNX Runtime, once onnx has turned it into float32; and its CUDA provider is there all the same."""
    machine = board("desktop", {**GOOD_PC, **INT8_DETECTOR}, {**PC_BINDINGS, "onnx": onnx})
    assert doctor(True, machine=machine) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs_on"] == ["tensorrt", *(["onnxruntime-cuda", "onnxruntime"] if onnx else [])]
    built = {"graphs": {"detect": {**ENGINE, "precision": "int8", "valid": False, "why": "not built"}}}
    machine = board("desktop", {**GOOD_PC, ENGINES: {**BUILT, **built}}, {**PC_BINDINGS, "onnx": onnx})
    assert doctor(True, machine=machine) == (0 if onnx else 5)
    told = json.loads(capsys.readouterr().out)
    assert told["runs_on"] == (["onnxruntime-cuda", "onnxruntime"] if onnx else [])
    assert not any(finding["key"] == "onnxruntime.cpu" for finding in told["findings"])


def test_float_graphs_need_no_onnx():
    assert "onnxruntime.onnx" not in findings("orin-nano-super", installed={"onnx": None})


def test_a_card_without_a_driver(tmp_path):
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    assert findings(tmp_path)["gpu.driver"].level == "warning"
    (device / "vendor").write_text("0x8086\n")
    assert not {"gpu.driver", "cuda.start", "tensorrt.missing"} & set(findings(tmp_path))


def test_cameras(tmp_path):
    folder = tmp_path / "sys/class/video4linux/video0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("vi-output, imx219 9-0010\n")
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/nvargus-daemon").touch()
    found = findings(tmp_path)
    assert found["camera.access"].mend.startswith("sudo usermod -aG video")
    assert found["camera.argus"].mend == "sudo systemctl restart nvargus-daemon"
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/argus_socket").touch()
    assert "camera.argus" not in findings(tmp_path)


def test_in_a_container(tmp_path):
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"nvidia,p3767-0003\0nvidia,tegra234\0")
    found = findings(tmp_path)
    for key in ("jetpack.unknown", "cuda.start", "camera.none"):
        assert found[key].mend.startswith("docker run ")
    assert "power.unknown" in found


def test_a_board_flashed_without_super(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1")
    (tmp_path / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=15W >\n< PM_CONFIG DEFAULT=0 >\n")
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    assert "-super" in findings(tmp_path)["power.super"].mend


def test_the_worst_is_first():
    levels = [finding.level for finding in findings("xavier-nx-jetpack-5", {RUNTIME: {"missing": True}}).values()]
    assert levels == sorted(levels, key=report.LEVELS.index)
    assert levels[0] == "error"


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
        ("desktop", {**GOOD_PC, CUDA: WELL[CUDA]}, 0, ["onnxruntime"], ["tensorrt-rtx"]),
        ("desktop", {RUNTIME: {"missing": True}}, 5, [], []),
        ("orin-nano-super", {**GOOD_ORIN, CV2: Answer("", "python3: ended by SIGILL")}, 5, [], ["tensorrt"]),
        ("desktop", {CV2: Answer("", "python3: no answer in 60 s", hung=True)}, 5, [], []),
    ],
)
def test_what_runs_and_the_exit_code(capsys, name, children, code, runs_on, builds):
    machine = board(name, children)
    assert doctor(True, machine=machine) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["runs_on"], told["builds"], told["can_run"]) == (runs_on, builds, code == 0)
    assert any(finding["level"] == "error" for finding in told["findings"]) == (code == 5 or "xavier" in name)
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
    "findings": "key level what costs mend",
    "self_test": "bundle int8_constants",
}


@pytest.mark.parametrize("name", sorted(path.name for path in BOARDS.iterdir() if path.is_dir()))
def test_json_keeps_its_keys(capsys, name):
    children = {**GOOD_ORIN, INT8: {"builds": True, "why": "", "seconds": 1.5}}
    doctor(True, True, board(name, children))
    told = json.loads(capsys.readouterr().out)
    for where, keys in KEYS.items():
        value = told if keys is None else told[where]
        for each in value if isinstance(value, list) else [value]:
            assert set(each) == set((keys or where).split())
    assert told["self_test"]["bundle"]["frame_ms"] == 250.5
    assert (told["self_test"]["bundle"]["mapped"], told["self_test"]["bundle"]["not_captured"]) == (None, None)
    (tried,) = told["self_test"]["int8_constants"]
    assert tried == {"module": "tensorrt", "version": "10.3.0", "builds": True, "why": "", "seconds": 1.5}
    assert {"kind": "full", "module": "tensorrt", "version": "10.3.0", "error": None} in told["tensorrt"]
    assert told["libraries"]["pycuda"] is None


@pytest.mark.parametrize(
    ("tried", "lines"),
    [
        ({"mapped": True, "not_captured": {}}, ["frames are read in pinned memory, where they lie"]),
        (
            {"mapped": False, "not_captured": {"embed": "it waits", "segment 1": "no room", "segment 2": "no room"}},
            [
                "frames are copied to the GPU",
                "given to the GPU anew each time, not as a CUDA graph: embed: it waits",
                "given to the GPU anew each time, not as a CUDA graph: segment 1, segment 2: no room",
            ],
        ),
        ({"mapped": None, "not_captured": None}, []),
    ],
)
def test_how_frames_go_to_the_gpu(capsys, tried, lines):
    machine = board("orin-nano-super", {**GOOD_ORIN, TRY: {**WELL[TRY], **tried}, INT8: {"builds": True}}, BINDINGS)
    doctor(True, True, machine)
    bundle = json.loads(capsys.readouterr().out)["self_test"]["bundle"]
    assert {name: bundle[name] for name in tried} == tried
    doctor(False, True, machine)
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    told = [row.removeprefix("self-test ") for row in rows if row.startswith("self-test ")]
    assert told[1:-1] == lines


def test_for_people(capsys):
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
        "full 10.3.0, lean 10.3.0",
        "Or?[2Jin, compute capability 8.7, 7.4 GiB, memory shared with the processor",
        "up to 12.6, driver 540.4.0, toolkit 12.6.11",
        "7.4 GiB, 4.7 GiB free; swap: 3.7 GiB zram",
        "4.8.0 with GStreamer 1.20.3, /cv2.py",
        "1.23.2: CPU",
        "/dev/video1  csi  imx219 10-0010",
        "1 of 1 valid for Orin 8GB (sm87) with TensorRT 10.3.0",
        "250.5 ms a frame on CPU, 6 threads (onnxruntime; loading 700.0 ms, first frame 300.5 ms); 5 of 5 parts found",
        "tensorrt 10.3.0 builds weights stored in INT8",
        "\nwarning: a small board without swap on a disk",
        "\nnote: the power mode is 15W, not MAXN_SUPER\n  costs  clocks",
        "\n  mend   sudo nvpmodel -m 2   # MAXN_SUPER on this board\n",
    ):
        assert line in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("children", "code", "key", "says"),
    [
        ({TRY: {"error": "detect.onnx: it broke"}}, 5, "self_test.bundle", "detect.onnx: it broke"),
        ({TRY: Answer("", "python3: ended by SIGSEGV")}, 5, "self_test.bundle", "SIGSEGV"),
        ({TRY: {**WELL[TRY], "parts_found": 0}}, 5, "self_test.wrong", "none of 5 parts"),
        ({INT8: {"builds": False, "why": "wants float weights"}}, 0, "self_test.tensorrt", "wants float weights"),
        ({INT8: {"error": "RuntimeError: no GPU"}}, 0, "self_test.tensorrt", "could not be tried: RuntimeError"),
    ],
)
def test_a_self_test_that_fails(capsys, children, code, key, says):
    machine = board("orin-nano-super", {**GOOD_ORIN, INT8: {"builds": True}, **children})
    assert doctor(True, True, machine) == code
    told = json.loads(capsys.readouterr().out)
    assert says in next(finding["what"] for finding in told["findings"] if finding["key"] == key)
    assert told["can_run"] == (code == 0)


ON_ENGINES = {**WELL[TRY], "backend": "tensorrt"}


@pytest.mark.parametrize(
    ("children", "bundle", "wanted"),
    [
        ({TRY: ON_ENGINES}, "parts", None),
        ({}, "parts", ("the embedded bundle ran on onnxruntime, though tensorrt is there", "--backend tensorrt ")),
        ({}, "nuts", None),  # which was not tried
        ({TRY: {"error": "it broke"}}, "parts", None),
        (
            {**NOT_BUILT, RUNTIME: GOOD_PC[RUNTIME]},
            "parts",
            ("the embedded bundle ran on onnxruntime, though onnxruntime-cuda is there", "--backend onnxruntime-cuda "),
        ),
    ],
)
def test_the_self_test_ran_on_what_is_best(capsys, monkeypatch, children, bundle, wanted):
    monkeypatch.setattr(facts, "open_bundle", lambda _: OPENED("parts"))
    said = {**GOOD_ORIN, f"nanoseg.doctor.probe engines {bundle}": BUILT, INT8: {"builds": True}, **children}
    doctor(True, True, board("orin-nano-super", said, BINDINGS), bundle)
    found = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["key"] == "self_test.backend"]
    assert len(found) == (wanted is not None)
    for each in found:
        assert (each["level"], each["what"]) == ("warning", wanted[0])
        assert f"nanoseg demo --frames 1 {wanted[1]}" in each["mend"]


@pytest.mark.parametrize(
    ("bundle", "tried", "code", "level"),
    [
        ("parts", {"error": "onnxruntime is not installed"}, 5, "error"),
        ("nuts", {"error": "onnxruntime is not installed"}, 0, "warning"),
        ("nuts", {**WELL[TRY], "parts_found": 0}, 5, None),  # what computes wrong is the same for both
    ],
)
def test_the_self_test_is_of_the_embedded_bundle(capsys, monkeypatch, bundle, tried, code, level):
    """As on a Jetson with JetPack's TensorRT alone, and engines of the other bundle."""
    monkeypatch.setattr(facts, "open_bundle", lambda _: OPENED("parts"))
    said = {**GOOD_ORIN, f"nanoseg.doctor.probe engines {bundle}": BUILT, INT8: {"builds": True}, TRY: tried}
    machine = board("orin-nano-super", {**said, RUNTIME: {"missing": True}}, BINDINGS)
    assert doctor(True, True, machine, bundle) == code
    told = json.loads(capsys.readouterr().out)
    assert told["runs_on"] == ["tensorrt"]
    assert told["can_run"] == (code == 0)
    found = [each for each in told["findings"] if each["key"] == "self_test.bundle"]
    assert [each["level"] for each in found] == [level] * (level is not None)
    for each in found:
        assert each["what"] == "the embedded bundle does not run here: onnxruntime is not installed"
    if code == 0:
        assert not any(each["costs"] == "no bundle runs" for each in told["findings"])
    doctor(False, True, machine, bundle)
    assert ("the embedded bundle does not run\n" in capsys.readouterr().out) == (level is not None)


@pytest.mark.parametrize(
    ("name", "children", "row"),
    [
        ("no GPU", {RTX: {"version": "1.7.1"}}, "no engines; tensorrt-rtx with --dry-run tells whether graphs build"),
        ("no GPU", {FULL: {"version": "10.3.0"}}, "no engines"),
        ("desktop", GOOD_PC, "tensorrt-rtx"),
    ],
)
def test_the_row_of_what_is_built(capsys, name, children, row):
    doctor(machine=board(name, children))
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  builds")]
    assert rows == [["builds", row]]


def test_undecodable_bytes_reach_no_encoder(capsys):
    machine = board("desktop", {CV2: {**WELL[CV2], "path": "/home/m\udce9/cv2.py"}})
    assert doctor(True, machine=machine) == 0
    assert json.loads(capsys.readouterr().out)["opencv"]["path"] == "/home/m?/cv2.py"
    assert doctor(False, machine=machine) == 0
    assert "/home/m?/cv2.py" in capsys.readouterr().out


def test_a_damaged_bundle(capsys, monkeypatch):
    def damaged(name):
        raise BundleError("detect.onnx: wanted sha256 1, got 2")

    monkeypatch.setattr(facts, "open_bundle", damaged)
    assert doctor(False, machine=board("desktop")) == 0  # another bundle can run
    out = capsys.readouterr().out
    assert "error: detect.onnx: wanted sha256 1, got 2" in out
    assert "copy the checkout of nanoseg again" in out


def test_the_verb(call, monkeypatch):
    asked = []

    def fake(*arguments, **named):
        asked.append((*arguments, *named.values()))
        return 5

    monkeypatch.setattr(report, "doctor", fake)
    assert call("doctor", "--json", "--self-test") == (5, "", "")
    assert call("doctor", "--bundle", "nuts")[0] == 5
    assert asked == [(True, True, "parts"), (False, False, "nuts")]
    code, out, err = call("doctor", "--help")
    assert (code, err) == (0, "")
    assert "  nanoseg doctor --self-test" in out


def test_this_machine(call):
    """Whatever it is: a document, a known exit code, and no word on stderr."""
    code, out, err = call("doctor", "--json")
    told = json.loads(out)
    assert (code, err) == (0 if told["can_run"] else 5, "")
    assert told["libraries"]["numpy"]
    assert told["system"]["cpus"] >= 1
