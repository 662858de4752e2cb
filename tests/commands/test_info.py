"""`nanoseg info`: what a bundle holds, for machines and for people."""

import errno
import json
import os
from pathlib import Path

import pytest

from nanoseg.backends import find_device as devices
from nanoseg.bundle import open_bundle
from nanoseg.bundle.manifest import GRAPHS
from nanoseg.engines import Device, EngineStore
from nanoseg.utils.hashing import sha256_of_file
from tests.helpers.engine_records import ORIN, record


@pytest.fixture(autouse=True)
def engines(tmp_path, monkeypatch):
    """The folder of engines, in place of what this machine has."""
    monkeypatch.setenv("NANOSEG_ENGINES", str(tmp_path / "engines"))
    return tmp_path / "engines"


def put(folder, name, device, root=None):
    bundle = open_bundle(folder)
    graph = bundle.graphs[name]
    plan = name.encode() * 1000
    made = record(name, plan, device, graph_sha256=graph.sha256, precision=graph.precision)
    return EngineStore(root).put(bundle, device, name, plan, made)


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "nuts"
    folder.mkdir()
    text = 'format = 1\nname = "nuts"\nversion = "3"\ndescription = "A test."\nlicence = "Apache-2.0"\n'
    text += 'labels = ["nut", "bolt"]\n[thresholds]\nconfidence = 0.25\niou = 0.7\nmax_detections = 300\n'
    text += "[input]\ndetector_px = 320\nrescale_px = 320\nencoder_px = 512\n"
    for name, precision in zip(GRAPHS, ("fp32", "int8", "fp16", "fp32"), strict=True):
        path = folder / f"{name}.onnx"
        path.write_text(name)
        text += f'[graphs.{name}]\nfile = "{path.name}"\nsha256 = "{sha256_of_file(path)}"\n'
        text += f'bytes = {len(name)}\nprecision = "{precision}"\n'
    for name in ("detector", "encoder", "decoder"):
        text += f'[networks.{name}]\narchitecture = "tiny"\nsha256 = "{"0" * 64}"\nweights = "made up"\n'
    text += "[accuracy.float32]\nmap50_95 = 0.5\nmap50 = 0.75\nmiou = 0.875\n"
    (folder / "bundle.toml").write_text(text)
    return folder


def test_info_json(call, bundle):
    code, out, err = call("info", bundle, "--json")
    got = json.loads(out)
    assert (code, err) == (0, "")
    assert {name: graph["precision"] for name, graph in got["graphs"].items()} == {
        "prepare": "fp32",
        "detect": "int8",
        "embed": "fp16",
        "segment": "fp32",
    }
    assert got["graphs"]["embed"]["sha256"] == sha256_of_file(bundle / "embed.onnx")
    assert (got["graphs"]["embed"]["bytes"], got["graphs"]["embed"]["file"]) == (5, "embed.onnx")
    figures = {name: got["accuracy"]["float32"][name] for name in ("map50_95", "map50", "miou")}
    assert figures == {"map50_95": 0.5, "map50": 0.75, "miou": 0.875}
    assert got["accuracy"]["deployed"] == {"map50_95": None, "map50": None, "miou": None}
    assert got["thresholds"] == {"confidence": 0.25, "iou": 0.7, "max_detections": 300, "nms": "by-class"}
    assert (got["labels"], got["licence"], got["engines"]) == (["nut", "bolt"], "Apache-2.0", [])
    assert got["networks"]["decoder"]["weights"] == "made up"


def test_info_table(call, bundle):
    code, out, _ = call("info", bundle)
    assert code == 0
    for line in ("nuts 3", "2: nut, bolt", "int8", "map50_95 0.500", "not measured", "Apache-2.0"):
        assert line in out
    (bundle / "embed.onnx").write_text("other")
    code, _, err = call("info", bundle)
    assert code == 4
    assert "embed.onnx: wanted sha256" in err


def test_info_of_a_bundle_with_mask_prompts(call, bundle):
    assert "segment_mask" not in json.loads(call("info", bundle, "--json")[1])["graphs"]
    assert "segment_mask" not in call("info", bundle)[1]
    (bundle / "segment_mask.onnx").write_text("masks")
    digest = sha256_of_file(bundle / "segment_mask.onnx")
    text = (bundle / "bundle.toml").read_text()
    text += '[graphs.segment_mask]\nfile = "segment_mask.onnx"\nbytes = 5\nprecision = "fp16"\n'
    text += f'sha256 = "{digest}"\n[networks.mask_decoder]\narchitecture = "sam"\nweights = ""\n'
    (bundle / "bundle.toml").write_text(text + f'sha256 = "{"0" * 64}"\n')
    got = json.loads(call("info", bundle, "--json")[1])
    entry = {"precision": "fp16", "sha256": digest, "bytes": 5, "file": "segment_mask.onnx"}
    assert got["graphs"]["segment_mask"] == entry
    assert got["networks"]["mask_decoder"] == {"architecture": "sam", "sha256": "0" * 64, "weights": ""}
    code, out, _ = call("info", bundle)
    assert code == 0
    for line in (f"fp16  0.00 MB  sha256 {digest[:12]}", "segment_mask", "mask_decoder", "sam; weights: not stated"):
        assert line in out


def test_info_of_engines(call, bundle, monkeypatch):
    ada = Device("NVIDIA GeForce RTX 4090", (8, 9), "1.7.1", "tensorrt-rtx")
    detect, other, stray = put(bundle, "detect", ORIN), put(bundle, "embed", ada), put(bundle, "segment", ORIN)
    sidecar = stray.parent / "engines.json"
    records = json.loads(sidecar.read_text())
    del records["engines"]["segment"]
    sidecar.write_text(json.dumps(records))

    def got(found, why=""):
        monkeypatch.setattr(devices, "find_device", lambda *_: (found, why))
        code, out, err = call("info", bundle, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)["engines"], call("info", bundle)[1]

    listed, table = got(ORIN)
    cut_short = "engines.json beside it has no record of it, so its build was cut short"
    another = "built for the GPU NVIDIA GeForce RTX 4090 (sm89), here is Orin 8GB (sm87)"
    known = {
        "graph": "detect",
        "file": str(detect),
        "gpu": "Orin 8GB",
        "tensorrt": "10.3.0",
        "kind": "tensorrt",
        "precision": "int8",
        "bytes": 6000,
        "built_at": "2026-11-21T12:00:00+00:00",
        "valid": True,
        "why": "",
    }
    rtx = {"gpu": ada.gpu, "tensorrt": "1.7.1", "kind": "tensorrt-rtx", "precision": "fp16", "bytes": 5000}
    assert listed == [
        known,
        {
            **dict.fromkeys(known),
            "graph": "segment",
            "file": str(stray),
            "bytes": 7000,
            "valid": False,
            "why": cut_short,
        },
        {**known, "graph": "embed", "file": str(other), **rtx, "valid": False, "why": another},
    ]
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert f"engines {detect.parents[1]}" in rows
    assert "engine detect int8 0.01 MB orin-8gb-sm87-trt10.3.0/detect.engine valid here" in rows
    assert f"engine segment 0.01 MB orin-8gb-sm87-trt10.3.0/segment.engine not valid here: {cut_short}" in rows
    folder = "nvidia-geforce-rtx-4090-sm89-rtx1.7.1"
    assert f"engine embed fp16 0.01 MB {folder}/embed.engine not valid here: {another}" in rows

    for why in ("no TensorRT on this machine", "no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE"):
        listed, table = got(None, why)
        assert [(engine["valid"], engine["why"]) for engine in listed] == [(False, why)] * 3
        assert table.count(f"not valid here: {why}") == 3


def test_info_without_engines_selects_no_device(call, bundle, monkeypatch):
    monkeypatch.setattr(devices, "find_device", lambda *_: pytest.fail("it loads TensorRT"))
    assert json.loads(call("info", bundle, "--json")[1])["engines"] == []
    assert "none built" in call("info", bundle)[1]


def test_info_of_engines_in_another_folder(call, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "find_device", lambda *_: (ORIN, ""))
    path = put(bundle, "detect", ORIN, tmp_path / "my engines")
    assert json.loads(call("info", bundle, "--json")[1])["engines"] == []
    listed = json.loads(call("info", bundle, "--engines", tmp_path / "my engines", "--json")[1])["engines"]
    assert [(engine["file"], engine["valid"]) for engine in listed] == [(str(path), True)]
    code, _, err = call("info", bundle, "--engines", bundle / "bundle.toml")
    assert code == 5
    assert err == f"nanoseg: error: {bundle / 'bundle.toml' / 'nuts'}: cannot be read: Not a directory\n"


def test_info_of_an_engine_whose_graph_is_gone(call, bundle, monkeypatch):
    monkeypatch.setattr(devices, "find_device", lambda *_: (ORIN, ""))
    path = put(bundle, "detect", ORIN)
    sidecar = path.parent / "engines.json"
    records = json.loads(sidecar.read_text())
    records["engines"]["segment_mask"] = {**records["engines"]["detect"], "graph": "segment_mask"}
    sidecar.write_text(json.dumps(records))
    code, out, err = call("info", bundle, "--json")
    assert (code, err) == (0, "")
    got = {engine["graph"]: engine["why"] for engine in json.loads(out)["engines"]}
    assert got == {"detect": "", "segment_mask": "the bundle has no graph segment_mask"}


def test_info_of_an_unreadable_folder_of_engines(call, bundle, monkeypatch):
    monkeypatch.setattr(devices, "find_device", lambda *_: (ORIN, ""))
    folder = put(bundle, "detect", ORIN).parent
    really = Path.stat

    def stat(path, **named):
        if path.parent == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really(path, **named)

    (folder / "engines.json").unlink()
    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(Path, "is_file", lambda path: bool(stat(path)))
    code, out, err = call("info", bundle, "--json")
    assert (code, err) == (0, "")
    got = [(engine["graph"], engine["bytes"], engine["why"]) for engine in json.loads(out)["engines"]]
    assert got == [(name, None, "its folder cannot be read: Permission denied") for name in GRAPHS]
