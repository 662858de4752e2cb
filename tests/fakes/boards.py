"""Machines for the doctor's tests: copies of real boards' files in tests/data/boards, and their commands' output."""

from __future__ import annotations

import json
from pathlib import Path

from nanoseg.doctor.machine import CommandResult, Machine
from tests.helpers.paths import DATA

BOARDS = DATA / "boards"
QUERY = "--query-gpu=name,driver_version,memory.total,compute_cap"
CPU_ONLY = ["AzureExecutionProvider", "CPUExecutionProvider"]
BUILT_WITH = (
    "  Video I/O:\n    FFMPEG:                      YES\n    GStreamer:                   {}\n    v4l/v4l2:    YES\n"
)
ENGINE = {"precision": "fp32", "file": "/engines/parts/orin/detect.engine", "valid": True, "why": ""}
BUILT = {"device": "Orin 8GB (sm87) with TensorRT 10.3.0", "graphs": {"detect": ENGINE}, "engines": []}
# Output of the probes on a machine where everything works, by the arguments of `python -m`.
HEALTHY = {
    "nanoseg.doctor.probe cv2": {"version": "4.8.0", "path": "/cv2.py", "build": BUILT_WITH.format("YES (1.20.3)")},
    "nanoseg.doctor.probe onnxruntime": {"version": "1.23.2", "providers": CPU_ONLY},
    "nanoseg.doctor.probe engines parts": BUILT,
    "nanoseg.backends.probe cuda": {"driver": None, "devices": [], "error": "no NVIDIA driver"},
    "nanoseg.backends.probe version tensorrt": {"missing": True},
    "nanoseg.backends.probe version tensorrt_lean": {"missing": True},
    "nanoseg.backends.probe version tensorrt_rtx": {"missing": True},
    "nanoseg.doctor.self_test": {
        "backend": "onnxruntime",
        "device": "CPU, 6 threads",
        "load_ms": 700.0,
        "first_ms": 300.5,
        "frame_ms": 250.5,
        "parts": 5,
        "parts_found": 5,
    },
}
ORIN = {"name": "Orin", "compute_capability": "8.7", "memory_mb": 7619, "shared": True}
ORIN_STARTS = {"driver": "12.6", "devices": [ORIN], "error": None}
LIBRARIES = {
    **dict.fromkeys(
        ("numpy", "msgspec", "rich", "typer", "onnxruntime", "supervision", "trackers", "av", "pycocotools"), "1.0"
    ),
    **dict.fromkeys(("pillow", "onnx", "onnxslim", "tomli-w", "torch", "onnxscript", "safetensors"), "1.0"),
    **dict.fromkeys(("matplotlib", "modern-yolonas"), "1.0"),
}


def board(name: str | Path, children=None, installed=None, commands=None) -> Machine:
    """Return the machine of a folder in BOARDS, or of any other folder.

    `children` replaces the output of probes, `commands` that of other commands, `installed` versions of libraries.
    A CommandResult is returned as it is; any other value is printed as JSON after some noise.
    """
    root = BOARDS / name
    output = {**HEALTHY, **(children or {})}

    def run(command, timeout_s):
        assert timeout_s > 0
        words = list(command)
        if "-m" in words:
            value = output[" ".join(words[words.index("-m") + 1 :])]
            return (
                value
                if isinstance(value, CommandResult)
                else CommandResult(f"[WARN] noise {{}}\n{json.dumps(value)}\n")
            )
        key = "nvidia-smi-query" if QUERY in words else Path(words[0]).name if len(words) < 3 else "another query"
        if commands and key in commands:
            return commands[key]
        try:
            return CommandResult((root / "commands" / key).read_text(errors="replace"))
        except OSError:
            return CommandResult("", f"{words[0]}: No such file or directory")

    return Machine(root, run, {**LIBRARIES, **(installed or {})}.get)
