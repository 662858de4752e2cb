"""Plans of tests/fakes/tensorrt_runtime.py: an ONNX file and a build's settings, run by ONNX Runtime."""

from __future__ import annotations

import json
from functools import lru_cache

import onnx
import onnxruntime
from onnx import TensorProto, helper

from tests.fakes.cuda_memory import Fault
from tests.fakes.tensorrt import DataType

MAGIC = b"a plan of tests/fakes/tensorrt_plan.py\n"
MEMORY_BYTES = 1 << 16
TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT8: DataType.INT8,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.BOOL: DataType.BOOL,
}


def fake_plan(
    graph, profile=None, memory=MEMORY_BYTES, kind="tensorrt", version="10.3.0", version_compatible=False, host=()
):
    """Return the plan of an ONNX model; `profile` is {input: (min, opt, max)}, `host` are names of shape tensors."""
    settings = {"profile": profile or {}, "memory": memory, "kind": kind, "version": version}
    settings.update(version_compatible=version_compatible, host=list(host))
    return MAGIC + json.dumps(settings).encode() + b"\n" + graph


def profile_of(graph, dimensions):
    """Return the optimization profile of an ONNX model by a recipe's dimensions."""
    dims_of = {name: dims for name, _, dims in tensors_of(graph)[0]}
    return {
        name: [
            [getattr(dimensions[dim], end) if isinstance(dim, str) else dim for dim in dims]
            for end in ("min", "opt", "max")
        ]
        for name, dims in dims_of.items()
        if any(isinstance(dim, str) for dim in dims)
    }


class Plan:
    """A deserialized plan. Raises Fault for other bytes."""

    def __init__(self, content):
        if not content.startswith(MAGIC):
            raise Fault("magicTag: serialized engine is damaged or of another version")
        settings, _, self.graph = content[len(MAGIC) :].partition(b"\n")
        settings = json.loads(settings)
        self.profile, self.memory, self.host = settings["profile"], settings["memory"], settings["host"]
        self.kind, self.version = settings["kind"], settings["version"]
        self.version_compatible = settings["version_compatible"]
        inputs, outputs = tensors_of(self.graph)
        self.inputs, self.outputs = ([name for name, *_ in values] for values in (inputs, outputs))
        self.types = {name: TYPES[kind] for name, kind, _ in (*inputs, *outputs)}
        self.dtypes = {name: helper.tensor_dtype_to_np_dtype(kind) for name, kind, _ in (*inputs, *outputs)}
        self.dims = {name: dims for name, _, dims in (*inputs, *outputs)}  # one that varies is its name

    def run(self, feeds):
        return dict(zip(self.outputs, _session(self.graph).run(self.outputs, feeds), strict=True))


@lru_cache(maxsize=8)
def tensors_of(graph):
    """Return (inputs, outputs) of an ONNX model, each (name, element type, dims): a dynamic dimension is its name."""
    model = onnx.load_from_string(graph)
    weights = {each.name for each in model.graph.initializer}
    return [
        [(each.name, each.type.tensor_type.elem_type, _dims_of(each)) for each in values if each.name not in weights]
        for values in (model.graph.input, model.graph.output)
    ]


def _dims_of(value):
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}.{axis}"
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
    )


@lru_cache(maxsize=8)
def _session(graph):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Q/DQ as they stand, which is what TensorRT makes of them.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
