"""Copies of a bundle with seeded faults, and with changes that do no harm."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_SLOW_STEPS = 400  # matrix products of up to 400 MFLOP each, many times what the demo bundle takes
_LARGE_BYTES = 500_000_000  # as float32
_TINY = 1e-6  # so small a share that the network's outputs stay what they are


@dataclass(frozen=True)
class Copy:
    """A changed copy of a bundle, as a table of them has it."""

    kind: str
    change: str
    reason: str  # a pattern of why it is to be refused; empty: it is to be swapped in
    make: Callable[[Path, np.random.Generator], None]  # changes the folder of a copy

    def write(self, bundle: Path, out: Path, seed: int) -> Path:
        """Write the copy to a folder and return that."""
        shutil.copytree(bundle, out)
        self.make(out, np.random.default_rng(seed))
        return out


def bad_copies() -> list[Copy]:
    """Return five kinds of faults, each in four variants."""
    disagrees = r"agree with the running bundle's by 0\.\d\d; wanted 0\.[57]|found nothing in \d+ frames"
    other_names = r"agree with the running bundle's by 0\.\d\d; .*; what was '.*' is '.*' to it"
    not_finite = "are not all finite numbers"
    slow = r"times as long as the running bundle; wanted at most 1\.5"
    large = r"it takes \d+ MB; wanted at most \d+ \(memory_mb\)"
    table: list[tuple[str, str, str, Callable[[Path, np.random.Generator], None]]] = [
        *(("wrong classes", f"{moved} labels exchanged", other_names, _labels(moved)) for moved in (10, 8, 5, 3)),
        ("broken decoder", "weights scrambled", disagrees, _weights("segment", _scrambled)),
        ("broken decoder", "weights zeroed", disagrees, _weights("segment", lambda values, _: values * 0)),
        ("broken decoder", "weights drowned in noise", disagrees, _weights("segment", _drowned)),
        ("broken decoder", "another sign", disagrees, _weights("segment", lambda values, _: -values)),
        ("slow", "detector", slow, _appended("detect", "images", _products(_SLOW_STEPS))),
        ("slow", "encoder", slow, _appended("embed", "image", _products(_SLOW_STEPS // 2))),
        ("slow", "decoder", slow, _appended("segment", "image_embeddings", _products(_SLOW_STEPS))),
        ("slow", "detector, by less", slow, _appended("detect", "images", _products(_SLOW_STEPS // 2))),
        ("NaN", "in the decoder", not_finite, _weights("segment", _poisoned)),
        ("NaN", "in the encoder", not_finite, _weights("embed", _poisoned)),
        ("NaN", "infinity in the decoder", not_finite, _weights("segment", _infinite)),
        ("NaN", "in the detector", "it found nothing in", _weights("detect", _poisoned)),
        ("too large", "weights of the decoder", large, _appended("segment", "image_embeddings", _ballast)),
        ("too large", "weights of the encoder", large, _appended("embed", "image", _ballast)),
        ("too large", "once it is loaded", large, _appended("segment", "image_embeddings", _unfolded)),
        ("too large", "once it runs", large, _appended("embed", "image", _tiled)),
    ]
    return [Copy(*row) for row in table]


def good_copies() -> list[Copy]:
    """Return five kinds of changes that do no harm, each in four variants."""
    table: list[tuple[str, Callable[[Path, np.random.Generator], None]]] = [
        ("renamed", _edited(lambda text, rng: text.replace('name = "parts"', f'name = "parts-{rng.integers(1000)}"'))),
        ("confidence", _edited(lambda text, rng: _number(text, "confidence", 0.2 + rng.uniform(-0.01, 0.02)))),
        ("iou", _edited(lambda text, rng: _number(text, "iou", 0.7 + rng.uniform(-0.05, 0.05)))),
        ("noise in the decoder", _weights("segment", _trembling)),
        ("noise in the encoder", _weights("embed", _trembling)),
    ]
    return [Copy("good", change, "", make) for change, make in table for _ in range(4)]


Values = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Nodes = Callable[[str, int, list[int], np.random.Generator], tuple[list[onnx.NodeProto], list[onnx.TensorProto]]]


def _edited(edit: Callable[[str, np.random.Generator], str]) -> Callable[[Path, np.random.Generator], None]:
    """Return a change of bundle.toml."""

    def make(folder: Path, rng: np.random.Generator) -> None:
        path = folder / "bundle.toml"
        before = path.read_text()
        after = edit(before, rng)
        if after == before:
            raise ValueError(f"{path}: nothing to change")
        path.write_text(after)

    return make


def _number(text: str, key: str, value: float) -> str:
    return re.sub(rf"(?m)^{key} = .*$", f"{key} = {value:.4f}", text, count=1)


def _labels(moved: int) -> Callable[[Path, np.random.Generator], None]:
    """Return a change that gives some labels the places of one another."""

    def edit(text: str, rng: np.random.Generator) -> str:
        found = re.search(r"(?s)labels = \[\n(.*?)\n\]", text)
        assert found is not None
        labels = found[1].split("\n")
        places = rng.choice(len(labels), moved, replace=False)
        exchanged = list(labels)
        for place, other in zip(places, np.roll(places, 1), strict=True):
            exchanged[place] = labels[other]
        return text.replace(found[1], "\n".join(exchanged))

    return _edited(edit)


def _graph(
    name: str, change: Callable[[onnx.ModelProto, np.random.Generator], None]
) -> Callable[[Path, np.random.Generator], None]:
    """Return a change of one graph, with its size and sha256 in bundle.toml."""

    def make(folder: Path, rng: np.random.Generator) -> None:
        path, manifest = folder / f"{name}.onnx", folder / "bundle.toml"
        before = path.read_bytes()
        model = onnx.load(path)
        change(model, rng)
        onnx.save(model, path)
        after = path.read_bytes()
        text = manifest.read_text().replace(sha256(before).hexdigest(), sha256(after).hexdigest())
        manifest.write_text(text.replace(f"bytes = {len(before)}\n", f"bytes = {len(after)}\n"))

    return make


def _weights(name: str, change: Values) -> Callable[[Path, np.random.Generator], None]:
    """Return a change of a graph's float weights, of its larger tensors alone."""

    def apply(model: onnx.ModelProto, rng: np.random.Generator) -> None:
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.data_type in FLOATS and values.size > 64 and values.ndim:
                changed = change(values.astype(np.float32), rng).astype(values.dtype)
                tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))

    return _graph(name, apply)


def _scrambled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(values.ravel()).reshape(values.shape)


def _drowned(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values + rng.normal(0, 3 * values.std() + 1e-3, values.shape)


def _trembling(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values * (1 + 1e-4 * rng.standard_normal(values.shape))


def _poisoned(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values.flat[rng.integers(values.size, size=max(1, values.size // 1000))] = np.nan
    return values


def _infinite(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values.flat[rng.integers(values.size)] = np.inf
    return values


def _appended(name: str, tensor: str, nodes: Nodes) -> Callable[[Path, np.random.Generator], None]:
    """Return a change that adds next to nothing to an input, at a cost."""

    def apply(model: onnx.ModelProto, rng: np.random.Generator) -> None:
        graph = model.graph
        value = next(each for each in graph.input if each.name == tensor)
        dims, kind = [dim.dim_value for dim in value.type.tensor_type.shape.dim], value.type.tensor_type.elem_type
        added, weights = nodes(tensor, kind, dims, rng)
        for node in graph.node:
            node.input[:] = ["fault/input" if each == tensor else each for each in node.input]
        before = list(graph.node)
        del graph.node[:]
        join = [
            helper.make_node("Mul", ["fault/cost", "fault/tiny"], ["fault/share"]),
            helper.make_node("Add", [tensor, "fault/share"], ["fault/input"]),
        ]
        graph.node.extend([*added, *join, *before])
        graph.initializer.extend([*weights, _constant("fault/tiny", _TINY, kind)])

    return _graph(name, apply)


def _constant(name: str, values: object, kind: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, helper.tensor_dtype_to_np_dtype(kind)), name)


def _products(steps: int) -> Nodes:
    """Return as many matrix products of an input, which keep its size."""

    def nodes(
        tensor: str, kind: int, dims: list[int], rng: np.random.Generator
    ) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        rotation = np.linalg.qr(rng.standard_normal((256, 256)))[0]
        made = [helper.make_node("Reshape", [tensor, "fault/rows"], ["fault/0"])]
        made += [
            helper.make_node("MatMul", [f"fault/{step}", "fault/rotation"], [f"fault/{step + 1}"])
            for step in range(steps)
        ]
        made.append(helper.make_node("Reshape", [f"fault/{steps}", "fault/dims"], ["fault/cost"]))
        constants: Mapping[str, tuple[object, int]] = {
            "fault/rows": ([-1, 256], TensorProto.INT64),
            "fault/dims": (dims, TensorProto.INT64),
            "fault/rotation": (rotation, kind),
        }
        return made, [_constant(name, *value) for name, value in constants.items()]

    return nodes


def _ballast(
    tensor: str, kind: int, dims: list[int], rng: np.random.Generator
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return weights that are read, row by row, by what the input says."""
    nodes, constants = _one_row("fault/ballast", tensor)
    return nodes, [*constants, _constant("fault/ballast", np.full((_LARGE_BYTES // 4 // 1024, 1024), 0.5), kind)]


def _unfolded(
    tensor: str, kind: int, dims: list[int], rng: np.random.Generator
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return what is small in the file, and large in memory: a constant that is computed."""
    nodes, constants = _one_row("fault/ballast", tensor)
    value = _constant("value", [0.5], kind)
    shape = _constant("fault/shape", [_LARGE_BYTES // 4 // 1024, 1024], TensorProto.INT64)
    return [helper.make_node("ConstantOfShape", ["fault/shape"], ["fault/ballast"], value=value), *nodes], [
        *constants,
        shape,
    ]


def _one_row(ballast: str, tensor: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes = [
        helper.make_node("ReduceMax", [tensor], ["fault/most"], keepdims=0),
        helper.make_node("Cast", ["fault/most"], ["fault/most32"], to=TensorProto.FLOAT),
        helper.make_node("Clip", ["fault/most32", "fault/zero", "fault/one"], ["fault/clipped"]),
        helper.make_node("Cast", ["fault/clipped"], ["fault/row"], to=TensorProto.INT64),
        helper.make_node("Gather", [ballast, "fault/row"], ["fault/values"], axis=0),
        helper.make_node("ReduceMean", ["fault/values"], ["fault/cost"], keepdims=0),
    ]
    return nodes, [
        _constant("fault/zero", 0, TensorProto.FLOAT),
        _constant("fault/one", 1, TensorProto.FLOAT),
    ]


def _tiled(
    tensor: str, kind: int, dims: list[int], rng: np.random.Generator
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return what needs room for many copies of the input."""
    copies = _LARGE_BYTES // (4 * int(np.prod(dims)))
    nodes = [
        helper.make_node("Tile", [tensor, "fault/copies"], ["fault/tiled"]),
        helper.make_node("ReduceMean", ["fault/tiled"], ["fault/cost"], keepdims=0),
    ]
    return nodes, [_constant("fault/copies", [copies, *[1] * (len(dims) - 1)], TensorProto.INT64)]
