"""What OpenCV, ONNX Runtime and the engines are here, asked in a process of its own: a wrong build may end it.

    python -m nanoseg.doctor.probe cv2             {"version": "4.8.0", "path": ..., "build": ...}
    python -m nanoseg.doctor.probe onnxruntime     {"version": "1.23.2", "providers": [...]}
    python -m nanoseg.doctor.probe engines parts   {"device": ..., "kind": ..., "graphs": {...}, "engines": [...]}

The last line of stdout is one JSON object; "missing" where it is not installed, "error" where it cannot be loaded.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from nanoseg.errors import one_line


def cv2() -> dict[str, Any]:
    """OpenCV."""
    library = importlib.import_module("cv2")
    return {"version": str(library.__version__), "path": library.__file__, "build": library.getBuildInformation()}


def onnxruntime() -> dict[str, Any]:
    """ONNX Runtime."""
    library = importlib.import_module("onnxruntime")
    return {"version": str(library.__version__), "providers": library.get_available_providers()}


def engines(bundle: str) -> dict[str, Any]:
    """The engine for each graph of a bundle, and all of them as `nanoseg info` tells them.

    Looking for the device loads TensorRT; of several it is the one that the bundle's engines are for.
    """
    from nanoseg.backends.device import select_device
    from nanoseg.bundle import open_bundle
    from nanoseg.commands.info import describe
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
        "engines": describe(opened)["engines"],
    }


def main(arguments: Sequence[str]) -> int:
    """Print the answer to one question."""
    asked: dict[str, Callable[..., dict[str, Any]]]
    asked = {"cv2": cv2, "onnxruntime": onnxruntime, "engines": engines}
    try:
        told = asked[arguments[0]](*arguments[1:])
    except ModuleNotFoundError as error:
        told = {"missing": True} if error.name == arguments[0] else {"error": one_line(error)}
    except Exception as error:  # an OpenCV built for another numpy raises AttributeError and what not
        told = {"error": one_line(error)}
    print(f"\n{json.dumps(told)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
