"""Subprocess that loads OpenCV, ONNX Runtime or the device's TensorRT, as a wrong build may crash the process.

    python -m nanoseg.doctor.probe cv2             {"version": "4.8.0", "path": ..., "build": ...}
    python -m nanoseg.doctor.probe onnxruntime     {"version": "1.23.2", "providers": [...]}
    python -m nanoseg.doctor.probe engines parts   {"device": ..., "kind": ..., "graphs": {...}, "engines": [...]}

The last line of stdout is one JSON object, with "missing" where the library is not installed and "error" where it
cannot be loaded. nanoseg.backends.probe does the same for TensorRT's version and builder and for CUDA.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from nanoseg.errors import one_line


def cv2() -> dict[str, Any]:
    """Return OpenCV's version, path and build information."""
    library = importlib.import_module("cv2")
    return {"version": str(library.__version__), "path": library.__file__, "build": library.getBuildInformation()}


def onnxruntime() -> dict[str, Any]:
    """Return ONNX Runtime's version and execution providers."""
    library = importlib.import_module("onnxruntime")
    return {"version": str(library.__version__), "providers": library.get_available_providers()}


def engines(bundle: str) -> dict[str, Any]:
    """Return the engine for each graph of a bundle, and all its engines as `nanoseg info` lists them.

    To find the device this loads TensorRT; of several libraries the one that the bundle's engines are for.
    """
    from nanoseg.backends.describe_engines import describe_engines
    from nanoseg.backends.find_device import select_device
    from nanoseg.bundle import open_bundle
    from nanoseg.engines import EngineStore

    opened, store = open_bundle(bundle), EngineStore()
    device, missing = select_device(opened, store)
    graphs = {
        name: {
            "precision": opened.graphs[name].precision,
            "file": str(state.path) if device or state.nbytes is not None else None,
            "valid": state.valid,
            "why": missing or state.invalid_reason,
        }
        for name, state in store.best_states(opened, device).items()
    }
    return {
        "device": device and str(device),
        "kind": device and device.kind,
        "graphs": graphs,
        "engines": describe_engines(opened, store)["engines"],
    }


def main(arguments: Sequence[str]) -> int:
    """Print the result of one function, named by the first argument."""
    functions: dict[str, Callable[..., dict[str, Any]]]
    functions = {"cv2": cv2, "onnxruntime": onnxruntime, "engines": engines}
    try:
        result = functions[arguments[0]](*arguments[1:])
    except ModuleNotFoundError as error:
        result = {"missing": True} if error.name == arguments[0] else {"error": one_line(error)}
    except Exception as error:  # libraries built for another numpy raise errors of any type
        result = {"error": one_line(error)}
    print(f"\n{json.dumps(result)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
