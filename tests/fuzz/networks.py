"""Networks and their weights as users bring them: whole ones, and the loaders of `bundle make` and of exports."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf import json_format
from hypothesis import strategies as st

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import Column
from tests.fuzz import seeds
from tests.fuzz.mutations import changed_bytes, changed_json

MAX_NUMBERS = 10_000_000  # a file of more numbers is as large itself
COLUMNS: tuple[Column, ...] = ("batch", "box", "score", "class")
SKELETONS = ("sam_mask_decoder", "mobile_sam_tiny_vit")


def changed_models(models: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return one of `models` with changed bytes, or with changed values of its graph."""
    documents = [json_format.MessageToDict(onnx.load_model_from_string(model)) for model in models]
    return changed_bytes(models) | changed_json(documents).map(_to_model).filter(bool)


def _to_model(text: bytes) -> bytes:
    """Return JSON as a model; nothing where it fits none."""
    with suppress(Exception):  # of JSON and of protobuf, whose types are many
        return bytes(json_format.Parse(text.decode(), onnx.ModelProto()).SerializeToString())
    return b""


def detectors(folder: Path) -> Sequence[bytes]:
    from tests.helpers import end2end_detectors as e2e
    from tests.helpers.tiny_networks import some_detector

    boxes, scores, ids = e2e.some_rows(2)
    paths = [
        some_detector(folder / "d0.onnx"),
        e2e.save_outputs(folder / "d1.onnx", e2e.plain(3)),
        e2e.save_outputs(folder / "d2.onnx", e2e.one("bsc")(boxes, scores, ids), e2e.ULTRALYTICS),
        e2e.save_outputs(folder / "d3.onnx", e2e.one("0bsc")(boxes, scores, ids)),
        e2e.save_outputs(folder / "d4.onnx", {"boxes": boxes, "labels": ids, "scores": scores}),
    ]
    return [path.read_bytes() for path in paths]


def encoders(folder: Path) -> Sequence[bytes]:
    from tests.helpers.tiny_networks import encoder

    model = onnx.load(encoder(folder / "e.onnx"))
    own = model.SerializeToString()
    model.graph.input[0].name = model.graph.node[0].input[0] = "x"
    model.graph.output[0].name = model.graph.node[-1].output[0] = "y"
    return [own, model.SerializeToString()]


def decoders(folder: Path) -> Sequence[bytes]:
    from tests.helpers.tiny_networks import decoder

    paths = [
        decoder(folder / "m0.onnx"),
        decoder(folder / "m1.onnx", tail=False),
        decoder(folder / "m2.onnx", prompts=1, mask_input=True),
    ]
    return [path.read_bytes() for path in paths]


def load_detector(path: Path) -> None:
    """Load a detector as it is, and one output of it as either form."""
    from nanoseg.onnx_graphs.adapt.detector import load_detector
    from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec, OutputSpec

    try:
        load_detector(path)
    except BundleError as error:
        if "output0" not in str(error):
            raise
        for spec in (OutputSpec(joint="output0", form="scores"), OutputSpec(joint="output0", columns=COLUMNS)):
            load_detector(path, DetectorSpec(outputs=spec))


def load_encoder(path: Path) -> None:
    from nanoseg.onnx_graphs.adapt.encoder import load_encoder

    load_encoder(path)


def load_decoder(path: Path) -> None:
    from nanoseg.onnx_graphs.adapt.decoder import load_decoder

    load_decoder(path)


@cache
def _state_documents() -> Sequence[bytes]:
    from nanoseg.models.export.skeletons import random_weights

    states = [random_weights(name) for name in SKELETONS]
    return [json.dumps({key: [str(v.dtype), list(v.shape), 0.5] for key, v in s.items()}).encode() for s in states]


def state_documents(_folder: Path) -> Sequence[bytes]:
    """Return the weights of the networks in SKELETONS: type, shape and value of each by name."""
    return _state_documents()


def _arrays(text: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a document; entries that no file of weights can hold are left out."""
    arrays = {}
    for name, entry in json.loads(text).items():
        with suppress(ValueError, TypeError, OverflowError):
            dtype, shape, value = entry
            if dtype in ("float32", "float64", "float16", "int64") and math.prod(shape) <= MAX_NUMBERS:
                with np.errstate(over="ignore"):
                    arrays[name] = np.broadcast_to(np.asarray(value, dtype), shape)
    return arrays


def fill_skeleton(path: Path) -> None:
    from nanoseg.onnx_graphs.skeletons.fill import fill_skeleton

    try:
        weights = _arrays(path.read_bytes())
    except (ValueError, AttributeError, RecursionError):
        return  # no document of weights; the readers of files have loaders of their own
    name = SKELETONS[any(key.startswith("image_encoder.") for key in weights)]
    fill_skeleton(name, weights, path.parent / "filled.onnx", origin="weights.pt")


def yolo_nas_documents(_folder: Path) -> Sequence[bytes]:
    """Return super-gradients' checkpoints as JSON: weights as in `state_documents`, and what it says beside them."""
    from tests.helpers import yolo_nas_files as files

    state = {key: ["int64" if not v.ndim else "float32", list(v.shape), 1] for key, v in files.state().items()}
    labels = {"class_names": files.LABELS, "iou": 0.65, "conf": 0.5}
    return [
        json.dumps({"net": state, "processing_params": {**labels, "image_processor": steps}}).encode()
        for steps in (_plain(files.FINE_TUNED), _plain(files.COCO_RECIPE))
    ]


def _plain(value: Any) -> Any:
    """Return a value with lists in place of sets, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | set | tuple) else value


def load_yolo_nas(path: Path) -> None:
    import torch

    from nanoseg.models.checkpoints.load import load_checkpoint
    from nanoseg.models.checkpoints.yolo_nas import load_yolo_nas

    try:
        content = json.loads(path.read_bytes())
        arrays = _arrays(json.dumps(content["net"]).encode())
        content["net"] = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        torch.save(content, checkpoint := path.parent / "checkpoint.pth")
    except (ValueError, AttributeError, RecursionError, LookupError, TypeError, OverflowError):
        return  # as in fill_skeleton
    load_yolo_nas(load_checkpoint(checkpoint))


def shared_containers(_folder: Path) -> Sequence[bytes]:
    """Return files of torch.save whose containers stand in many places, the last within itself."""
    import torch

    doubled: Any = {"weights": seeds.state()}
    for _ in range(30):
        doubled = [doubled, doubled]
    endless: dict[str, Any] = {"state_dict": seeds.state()}
    endless["again"] = [endless]
    one = seeds.state()
    files = []
    for content in ({"net": one, "ema_net": one}, {"state_dict": one, "more": doubled}, endless):
        torch.save(content, file := io.BytesIO())
        files.append(file.getvalue())
    return files
