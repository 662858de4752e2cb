"""What `nanoseg info` says of memory: as much as the chain takes of a made-up GPU, and as engines say themselves."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.backends.engine import TensorSpec
from nanoseg.bundle import open_bundle
from nanoseg.errors import BundleError
from nanoseg.info import describe
from nanoseg.onnx_tensors import read_tensors
from tests.contract.backends import FAKES, REAL, backend
from tests.contract.conftest import engines, of_sam, tiny  # noqa: F401
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
ORIN, DESKTOP, *_ = FAKES


def taken(run):
    """Bytes of a made-up GPU, and pinned ones."""
    blocks = [each for each in run.cuda.memory.blocks if not each.freed]
    return tuple(sum(each.nbytes for each in blocks if each.kind == kind) for kind in ("device", "pinned"))


def memory_of(run):
    return describe(open_bundle(run.bundle), run.engines)["memory"][0]  # this device's are told first


@pytest.mark.parametrize("name", [DESKTOP, ORIN])
@pytest.mark.parametrize("which", ["tiny", "of_sam"])
def test_it_is_what_the_chain_takes(request, engines, monkeypatch, name, which):  # noqa: F811
    with backend(name, request.getfixturevalue(which), engines / which, monkeypatch) as run:
        told = memory_of(run)
        width, height = map(int, told["frame"].split("x"))
        image = image_u8(1, height, width)
        frame = image.nbytes if name == ORIN else 0  # read where it lies
        with run.load(confidence=0.0, max_objects=3) as segmenter:
            segmenter(image)
            device, pinned = taken(run)
            assert device == told["activations_bytes"] + told["tensors_bytes"] - frame
            assert pinned == told["pinned_bytes"]
            assert list(segmenter.stream([image] * 3))
            assert taken(run) == (
                device + told["stream_bytes"] - 2 * frame,
                pinned + told["stream_pinned_bytes"],
            )
        files = list(Path(told["folder"]).glob("*.engine"))
        assert told["weights_bytes"] == sum(path.stat().st_size for path in files)
        assert told["gpu_bytes"] == told["weights_bytes"] + told["activations_bytes"] + told["tensors_bytes"]


@pytest.mark.parametrize("name", [*FAKES, REAL])
def test_it_agrees_with_the_engines(tiny, engines, monkeypatch, name):  # noqa: F811
    """With device_memory_size_v2 of each; and no more than that is gone of a real GPU, but for the library's own."""
    with backend(name, tiny, engines / "tiny", monkeypatch) as run, run.load() as segmenter:
        own = {name: engine.memory_bytes for name, engine in segmenter.chain._rig.engines.items()}
        told = memory_of(run)
        decoders = max(own[name] for name in own if name.startswith("segment"))
        assert told["activations_bytes"] == max(own["prepare"], own["detect"]) + own["embed"] + decoders


@pytest.mark.parametrize("graph", ["prepare", "detect", "embed", "segment"])
def test_tensors_are_those_that_onnx_reads(graph):
    path = open_bundle("parts").graphs[graph].path
    model = onnx.load(path)
    for found, values in zip(read_tensors(path), (model.graph.input, model.graph.output), strict=True):
        wanted = {}
        for each in values:
            kind = each.type.tensor_type
            sides = tuple(side.dim_value or None for side in kind.shape.dim)
            wanted[each.name] = TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), sides)
        assert found == wanted
        assert list(found) == list(wanted)


@pytest.mark.parametrize("content", [b"", b"prepare", b"\x3a\xff\x01abc", bytes(64), b"\x0f" * 40, b"\x3a"])
def test_what_is_no_onnx(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"x\.onnx: cannot be read as ONNX") as error:
        read_tensors(path)
    assert "\n" not in str(error.value)


def test_info_says_so(call, tiny, engines, monkeypatch):  # noqa: F811
    with backend(DESKTOP, tiny, engines / "alone", monkeypatch) as run:
        code, out, err = call("info", tiny, "--engines", run.engines, "--json")
        (told,) = json.loads(out)["memory"]
        assert (code, err, told["gpu"]) == (0, "", "NVIDIA GeForce RTX 4090")
        table = call("info", tiny, "--engines", run.engines)[1]
        assert f"{told['gpu_bytes'] / 1e6:.1f} MB of the GPU's at {told['frame']}" in table
        sidecar = next(run.engines.rglob("engines.json"))
        records = json.loads(sidecar.read_text())
        records["engines"]["embed"]["device_memory_bytes"] = None
        sidecar.write_text(json.dumps(records))
        assert json.loads(call("info", tiny, "--engines", run.engines, "--json")[1])["memory"][0]["gpu_bytes"] is None
        assert "not known: TensorRT did not tell" in call("info", tiny, "--engines", run.engines)[1]
        del records["engines"]["embed"]
        sidecar.write_text(json.dumps(records))
        assert json.loads(call("info", tiny, "--engines", run.engines, "--json")[1])["memory"] == []
