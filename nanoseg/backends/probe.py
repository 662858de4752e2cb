"""What TensorRT and CUDA are here, asked in a process of its own: either may bring down the one that loads it.

    python -m nanoseg.backends.probe version tensorrt      {"version": "10.3.0"}
    python -m nanoseg.backends.probe int8 tensorrt         {"builds": true, "why": "", "seconds": 1.9}
    python -m nanoseg.backends.probe cuda                  {"driver": "12.6", "devices": [...], "error": null}

The last line of stdout is one JSON object, with "error" where the answer is not known.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from nanoseg.backends.cuda.calls import CudaError
from nanoseg.backends.cuda.device import Libcuda, describe
from nanoseg.backends.tensorrt.conv_graph import int8_conv_graph
from nanoseg.backends.tensorrt.log import error_log, told_why
from nanoseg.errors import EngineError, one_line

KINDS = {"full": "tensorrt", "lean": "tensorrt_lean", "rtx": "tensorrt_rtx"}  # only full and rtx build engines
WORKSPACE_BYTES = 64 << 20


def version(library: str) -> dict[str, Any]:
    """The version of a TensorRT that can be loaded; {"missing": True} where it is not installed."""
    try:
        return {"version": str(importlib.import_module(library).__version__)}
    except ModuleNotFoundError as error:
        if error.name == library:
            return {"missing": True}
        return {"error": one_line(error)}


def int8_constant_builds(library: str) -> dict[str, Any]:
    """Whether this TensorRT parses and builds a convolution with INT8 weights behind DequantizeLinear."""
    api = importlib.import_module(library)
    said: list[str] = []
    log, started = error_log(api, said), time.perf_counter()
    builder = api.Builder(log)
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, log)
    plan = None
    if parser.parse(int8_conv_graph()):
        config = builder.create_builder_config()
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        plan = builder.build_serialized_network(network, config)
    else:
        said += [parser.get_error(i).desc() for i in range(parser.num_errors)]
    why = "" if plan is not None else told_why(said)
    return {"builds": plan is not None, "why": why, "seconds": round(time.perf_counter() - started, 2)}


def cuda() -> dict[str, Any]:
    """The driver's CUDA version and its devices, by libcuda; "error" says why CUDA does not start."""
    driver, devices, error = None, [], None
    try:
        library = Libcuda()
        driver = library.version()
        for index in range(library.count()):
            facts = describe(library, library.device(index))
            devices.append(
                {
                    "name": facts.name,
                    "compute_capability": "{}.{}".format(*facts.compute_capability),
                    "memory_mb": facts.memory_bytes >> 20,
                    "shared": facts.integrated,
                }
            )
    except CudaError as answer:
        error = answer.code
    except EngineError as none:
        error = str(none)
    return {"driver": driver, "devices": devices, "error": error}


def main(arguments: Sequence[str]) -> int:
    """Print the answer to one question."""
    asked: dict[str, Callable[..., dict[str, Any]]]
    asked = {"version": version, "int8": int8_constant_builds, "cuda": cuda}
    try:
        told = asked[arguments[0]](*arguments[1:])
    except Exception as error:  # whatever a library raises when it is loaded or used is the answer
        told = {"error": f"{type(error).__name__}: {one_line(error)}"}
    print(f"\n{json.dumps(told)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
