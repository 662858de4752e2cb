"""Output of a machine's probes, and the findings of `nanoseg doctor` for it."""

import dataclasses
from functools import cache

from nanoseg.bundle import open_bundle
from nanoseg.doctor import state
from nanoseg.doctor.report import diagnose
from nanoseg.doctor.system import Python
from tests.fakes.boards import BUILT, BUILT_WITH, ENGINE, ORIN_STARTS, board

OPENED = cache(open_bundle)
CV2, RUNTIME = "nanoseg.doctor.probe cv2", "nanoseg.doctor.probe onnxruntime"
CUDA, ENGINES = "nanoseg.backends.probe cuda", "nanoseg.doctor.probe engines parts"
FULL, LEAN, RTX = (f"nanoseg.backends.probe version tensorrt{end}" for end in ("", "_lean", "_rtx"))
SELF_TEST, INT8 = "nanoseg.doctor.self_test", "nanoseg.backends.probe int8 tensorrt"
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


def findings(name, children=None, installed=None, python=None, test=None):
    """Findings by key for a machine of tests.fakes.boards; `python` replaces the interpreter's properties."""
    python = python or Python("3.10.12", "/usr/bin/python3", False, True)
    found = dataclasses.replace(state.read_state(board(name, children, installed)), python=python)
    return {finding.key: finding for finding in diagnose(found, test)}
