"""Query this machine's TensorRT and CUDA in a subprocess: either may crash the process that loads it.

    python -m nanoseg.backends.probe version tensorrt      {"version": "10.3.0"}
    python -m nanoseg.backends.probe int8 tensorrt         {"builds": true, "why": "", "seconds": 1.9}
    python -m nanoseg.backends.probe cuda                  {"driver": "12.6", "devices": [...], "error": null}

The last line of stdout is one JSON object, with "error" where the query failed.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from nanoseg.backends.cuda.calls import LibcudaCalls
from nanoseg.backends.cuda.driver import CudaError, read_properties
from nanoseg.backends.tensorrt.int8_conv_graph import int8_conv_graph
from nanoseg.backends.tensorrt.log import join_messages, make_logger
from nanoseg.errors import EngineError, one_line

WORKSPACE_BYTES = 64 << 20


def version(module: str) -> dict[str, Any]:
    """Return the version of a TensorRT module; {"missing": True} where it is not installed."""
    try:
        return {"version": str(importlib.import_module(module).__version__)}
    except ModuleNotFoundError as error:
        if error.name == module:
            return {"missing": True}
        return {"error": one_line(error)}


def builds_int8_weights(module: str) -> dict[str, Any]:
    """Return whether a TensorRT module parses and builds a convolution with INT8 weights behind DequantizeLinear."""
    api = importlib.import_module(module)
    messages: list[str] = []
    logger, started = make_logger(api, messages), time.perf_counter()
    builder = api.Builder(logger)
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, logger)
    plan = None
    if parser.parse(int8_conv_graph()):
        config = builder.create_builder_config()
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        plan = builder.build_serialized_network(network, config)
    else:
        messages += [parser.get_error(i).desc() for i in range(parser.num_errors)]
    reason = "" if plan is not None else join_messages(messages)
    return {"builds": plan is not None, "why": reason, "seconds": round(time.perf_counter() - started, 2)}


def cuda() -> dict[str, Any]:
    """Return the driver's CUDA version and its devices, by libcuda; "error" is why CUDA does not start."""
    driver, devices, error = None, [], None
    try:
        library = LibcudaCalls()
        driver = library.version()
        for index in range(library.count()):
            properties = read_properties(library, library.device(index))
            devices.append(
                {
                    "name": properties.name,
                    "compute_capability": "{}.{}".format(*properties.compute_capability),
                    "memory_mb": properties.memory_bytes >> 20,
                    "shared": properties.integrated,
                }
            )
    except CudaError as failed:
        error = failed.code
    except EngineError as missing:
        error = str(missing)
    return {"driver": driver, "devices": devices, "error": error}


def main(arguments: Sequence[str]) -> int:
    """Print the result of one query."""
    queries: dict[str, Callable[..., dict[str, Any]]]
    queries = {"version": version, "int8": builds_int8_weights, "cuda": cuda}
    try:
        result = queries[arguments[0]](*arguments[1:])
    except Exception as error:  # whatever a library raises when it is loaded or used is the result
        result = {"error": f"{type(error).__name__}: {one_line(error)}"}
    print(f"\n{json.dumps(result)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
