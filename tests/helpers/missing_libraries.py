"""A file or folder of tests that imports what this machine has not is skipped, and says what that is; the others run.

tests/conftest.py names this file as a plugin.
"""

from __future__ import annotations

import pytest

from nanoseg.errors import DependencyError

# As pyproject.toml names them, but as Python calls them: what is not among these is a mistake, not a choice.
LIBRARIES = {
    *("PIL", "aiomqtt", "av", "cuda", "cv2", "google", "h11", "httpx", "hypothesis", "jsonschema_rs"),
    *("matplotlib", "modern_yolonas", "msgspec", "onnx", "onnxruntime", "onnxscript", "onnxslim", "paho", "polygraphy"),
    *("prometheus_client", "pycocotools", "requests", "rich", "safetensors", "schemathesis", "starlette"),
    *("supervision", "tensorrt", "tensorrt_rtx", "tomli_w", "torch", "typer", "uvicorn"),
}


def pytest_exception_interact(node, call, report):
    """Of a file, or of a folder whose conftest.py does it, this is called before its report is looked at."""
    if isinstance(report, pytest.CollectReport) and (why := what_is_missing(call.excinfo.value)):
        report.outcome, report.longrepr = "skipped", (str(node.path), 0, f"Skipped: {why}")


def what_is_missing(error: BaseException | None) -> str:
    """Which library an error of an import is about; empty where it is about none."""
    while error is not None:
        if isinstance(error, DependencyError):
            return str(error)
        if isinstance(error, ModuleNotFoundError) and _root(error.name) in LIBRARIES:
            return f"needs {_root(error.name)}, which is not installed"
        if isinstance(error, ImportError | OSError) and (broken := _inside(error)):
            return f"needs {broken}, which cannot be loaded: {error}"
        error = error.__cause__ or error.__context__
    return ""


def _inside(error: BaseException) -> str:
    """The library in whose code an error was raised."""
    trace = error.__traceback__
    names = []
    while trace is not None:
        names.append(_root(trace.tb_frame.f_globals.get("__name__")))
        trace = trace.tb_next
    return next((name for name in names if name in LIBRARIES), "")


def _root(name: str | None) -> str:
    return (name or "").partition(".")[0]
