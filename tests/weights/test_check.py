"""Kinds of files, recognized by their bytes."""

import struct

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.weights.check import check_weights
from tests.weights.small_files import tensors


def test_check_weights_accepts_complete_files(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    node = onnx.helper.make_node("Add", ["a", "w"], ["b"])
    values = [onnx.helper.make_tensor_value_info(name, 1, [40]) for name in "ab"]
    weight = onnx.numpy_helper.from_array(np.arange(40, dtype=np.float32), "w")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight]))
    torch.save({"w": torch.arange(40.0)}, tmp_path / "a.pt")
    whole = {
        "a.onnx": model.SerializeToString(),
        "a.safetensors": tensors(np.arange(40)),
        "a.pt": (tmp_path / "a.pt").read_bytes(),
    }
    for name, content in whole.items():
        path = tmp_path / f"{name}.part"
        path.write_bytes(content)
        check_weights(path, name)
        for end in range(len(content)):  # no beginning of it is one
            path.write_bytes(content[:end])
            with pytest.raises(SourceError, match=name):
                check_weights(path, name)
        for other in whole.keys() - {name}:
            path.write_bytes(whole[other])
            with pytest.raises(SourceError, match=name):
                check_weights(path, name)


def test_check_weights_refuses_other_and_incomplete_files(tmp_path):
    path = tmp_path / "part"
    for seed in range(200):
        path.write_bytes(np.random.default_rng(seed).bytes(seed))
        for name in ("a.onnx", "a.safetensors"):
            with pytest.raises(SourceError):
                check_weights(path, name)
    for header in (b"[1]", b'{"w": 1}', b'{"w": {"data_offsets": []}}', b"{{", b'{"w": {"data_offsets": ["a", "b"]}}'):
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(SourceError):
            check_weights(path, "a.safetensors")
    check_weights(path, "labels.txt")  # of a kind that nobody knows
