"""`nanoseg doctor`: level, problem and fix of each finding."""

import pytest

from nanoseg.doctor.system import Python
from tests.doctor.probe_output import (
    CUDA,
    CV2,
    ENGINES,
    FULL,
    GOOD_ORIN,
    GOOD_PC,
    INT8_DETECTOR,
    NO_GSTREAMER,
    NOT_BUILT,
    PC_BINDINGS,
    RTX,
    RUNTIME,
    findings,
)
from tests.fakes.boards import BUILT, ENGINE, HEALTHY, ORIN_STARTS

SHADOWED = {**GOOD_ORIN, CV2: NO_GSTREAMER}
NO_OPENCV = {**GOOD_ORIN, CV2: {"missing": True}}
VENV = Python("3.10.12", "/venv/bin/python", True, False)


@pytest.mark.parametrize(
    ("name", "children", "installed", "python", "key", "level", "problem", "fix"),
    [
        ("orin-nano-super", {}, {}, None, "power.capped", "note", "15W, not MAXN_SUPER", "sudo nvpmodel -m 2   #"),
        ("agx-thor", {}, {}, None, "power.capped", "note", "120W, not MAXN", "sudo nvpmodel -m 0   #"),
        ("orin-nano-super", {}, {}, None, "memory.swap", "warning", "zram", "sudo mkswap /swapfile"),
        ("orin-nano-super", {}, {}, None, "tensorrt.missing", "warning", "not installed", "--system-site-packages"),
        ("orin-nano-iso", {}, {}, None, "tensorrt.missing", "warning", "not installed", "apt install nvidia-jetpack"),
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
            *({}, {}, None, "jetpack.unsupported", "error", "JetPack 6.0 (L4T 36.3.0) is not supported", "JetPack 6.2"),
        ),
        (
            "xavier-nx-jetpack-5",
            *({}, {}, None, "jetpack.unsupported", "error", "JetPack 5.1.2 (L4T 35.4.1)", "an Orin or a Thor"),
        ),
        (
            "orin-nano-super",
            {**GOOD_ORIN, FULL: {"error": "ImportError: libnvinfer.so.10: cannot open shared object file"}},
            *({}, None, "tensorrt.broken", "warning", "libnvinfer.so.10", "--system-site-packages"),
        ),
        (
            "desktop",
            {**GOOD_PC, RTX: {"missing": True}, FULL: {"version": "8.6.1"}},
            *({}, None, "tensorrt.old", "warning", "8.6.1 is too old", "pip install --upgrade tensorrt-rtx-cu12"),
        ),
        (
            "orin-nano-iso",
            {**GOOD_ORIN, **NOT_BUILT, FULL: {"missing": True}, RTX: {"version": "1.7.1"}},
            *({}, None, "tensorrt.missing", "warning", "the lean runtime", "nvidia-jetpack"),
        ),
        (
            "orin-nano-iso",
            {**NOT_BUILT, CUDA: ORIN_STARTS, RTX: {"version": "1.7.1"}},
            *(
                {},
                None,
                "tensorrt.missing",
                "warning",
                "TensorRT for RTX, which does not support this GPU",
                "nvidia-jetpack",
            ),
        ),
        (
            "orin-nano-super",
            *(SHADOWED, {"opencv-python": "4.12.0.88"}, None),
            *(
                "opencv.shadowed",
                "warning",
                "hides the system's in /usr/lib/python3.10",
                "pip uninstall -y opencv-python",
            ),
        ),
        (
            "orin-nano-super",
            *(SHADOWED, {"opencv-python": "4.12.0.88"}, VENV),
            *(
                "opencv.shadowed",
                "warning",
                "no GStreamer",
                "opencv-python && python3 -m venv --system-site-packages",
            ),
        ),
        ("agx-thor", SHADOWED, {}, None, "opencv.gstreamer", "warning", "no GStreamer", "apt install python3-opencv"),
        ("desktop", {CV2: NO_GSTREAMER}, {}, None, "opencv.gstreamer", "note", "no GStreamer", "python3-opencv"),
        ("desktop", {CV2: {"missing": True}}, {}, None, "opencv.missing", "error", "not installed", "nanoseg[opencv]"),
        ("orin-nano-super", NO_OPENCV, {}, VENV, "opencv.missing", "error", "not installed", "--system-site-packages"),
        ("orin-nano-iso", NO_OPENCV, {}, None, "opencv.missing", "error", "not installed", "nvidia-jetpack"),
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
            *("desktop", {**GOOD_PC, **NOT_BUILT, RUNTIME: HEALTHY[RUNTIME]}, {}, None),
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
            {"supervision": None, "av": None},
            None,
            "extra.draw",
            "note",
            "supervision is",
            "[draw]",
        ),
        (
            "desktop",
            {},
            {"trackers": None},
            None,
            "extra.track",
            "note",
            "trackers is not",
            'pip install "nanoseg[track]"',
        ),
        (
            "orin-nano-super",
            *({}, {"trackers": None, "numpy": "1.26.4"}, None),
            *("extra.track", "note", "trackers is not", 'pip install --no-deps "trackers>=2.6,<3"'),
        ),
        ("agx-thor", {}, {"av": None}, None, "extra.video", "note", "av is not installed", "nanoseg[video]"),
    ],
)
def test_diagnose_names_the_fix(name, children, installed, python, key, level, problem, fix):
    found = findings(name, children, installed, python)
    assert key in found, list(found)
    assert found[key].level == level
    assert problem in found[key].problem
    assert fix in found[key].fix
    assert found[key].effect
