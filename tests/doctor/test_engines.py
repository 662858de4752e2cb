"""`nanoseg doctor` and the engines of a bundle: which are valid here, why not, and the line that builds them."""

import dataclasses
import json

import pytest

import nanoseg.commands.info  # noqa: F401  now, so that it does not keep an open_bundle made up below
from nanoseg.backends import device
from nanoseg.doctor import facts, probe
from nanoseg.doctor.report import diagnose, doctor
from nanoseg.engines import EngineStore
from nanoseg.errors import BundleError
from tests.fakes.boards import BUILT, ENGINE, ORIN_STARTS, board
from tests.helpers.engine_records import ORIN, PLAN, changed, make_bundle, record

GRAPHS = ("prepare", "detect", "embed", "segment")
ENGINES = "nanoseg.doctor.probe engines"
INT8 = "nanoseg.backends.probe int8 tensorrt"
BINDINGS = {"cuda-bindings": "12.9.4"}
TENSORRT = {
    "nanoseg.backends.probe cuda": ORIN_STARTS,
    "nanoseg.backends.probe version tensorrt": {"version": "10.3.0"},
}
RTX = {
    "nanoseg.backends.probe cuda": {
        "driver": "13.3",
        "devices": [{"name": "RTX", "compute_capability": "8.9", "memory_mb": 12281, "shared": False}],
        "error": None,
    },
    "nanoseg.backends.probe version tensorrt_rtx": {"version": "1.7.1"},
}
FULL = {"nanoseg.backends.probe version tensorrt": {"version": "10.13.0"}}
OLDER = "built by TensorRT 10.3.0, here is TensorRT 10.16.2"


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """Bundles that are there without files; `lost` is not."""

    def open_bundle(name):
        if name == "lost":
            raise BundleError("lost: no such bundle")
        return make_bundle(name="parts")

    monkeypatch.setattr(facts, "open_bundle", open_bundle)


def told(whys, where=BUILT["device"]):
    """What the probe says of four graphs; a graph that is not named is valid."""
    graphs = {name: {**ENGINE, "valid": name not in whys, "why": whys.get(name, "")} for name in GRAPHS}
    return {"device": where, "graphs": graphs, "engines": []}


def findings(said, name="orin-nano-super", machine=TENSORRT, bundle="parts", tried=None, installed=BINDINGS):
    gathered = facts.gather(board(name, {**machine, f"{ENGINES} {bundle}": said}, installed), bundle)
    return {finding.key: finding for finding in diagnose(gathered, tried)}


@pytest.mark.parametrize(
    ("said", "arguments", "key", "level", "what", "mend"),
    [
        (told({}), {}, None, "", (), ""),
        (
            told(dict.fromkeys(GRAPHS, "not built")),
            *({}, "engines.none", "note", ["no engine of the bundle parts is built for Orin 8GB (sm87)"]),
            "nanoseg build",
        ),
        (
            told({"embed": "not built"}),
            *({}, "engines.invalid", "warning", ["1 of the 4 engines of the bundle parts", "embed: not built"]),
            "nanoseg build",
        ),
        (
            told(dict.fromkeys(GRAPHS, OLDER)),
            *({}, "engines.invalid", "warning", ["4 of the 4", f"prepare: {OLDER}; detect: {OLDER}"]),
            "nanoseg build",
        ),
        (
            told({"detect": "truncated: wanted 9 bytes, got 4", "embed": "not built"}),
            *({}, "engines.invalid", "warning", ["detect: truncated: wanted 9 bytes, got 4; embed: not built"]),
            "nanoseg build",
        ),
        (
            told(dict.fromkeys(GRAPHS, "not built")),
            *({"bundle": "my bundles/nuts"}, "engines.none", "note", ["the bundle my bundles/nuts"]),
            "nanoseg build --bundle 'my bundles/nuts'",
        ),
        (
            told(dict.fromkeys(GRAPHS, "not built")),
            *({"name": "desktop", "machine": RTX}, "engines.none", "note", ["the bundle parts"]),
            "nanoseg build --target tensorrt-rtx",
        ),
        # Both are installed: it is the one that the engines there are for.
        (
            {**told({"embed": "not built"}), "kind": "tensorrt-rtx"},
            *({"name": "desktop", "machine": {**RTX, **FULL}}, "engines.invalid", "warning", ["embed: not built"]),
            "nanoseg build --target tensorrt-rtx",
        ),
        (
            {**told({"embed": "not built"}), "kind": "tensorrt"},
            *({"name": "desktop", "machine": {**RTX, **FULL}}, "engines.invalid", "warning", ["embed: not built"]),
            "nanoseg build",
        ),
        (
            {"error": "/srv/engines: cannot be read: Permission denied"},
            *({}, "engines.unknown", "warning", ["/srv/engines: cannot be read: Permission denied"]),
            "nanoseg info parts",
        ),
        # Where nothing can be built, that is told of TensorRT, or of the bindings, and engines are not spoken of.
        (told(dict.fromkeys(GRAPHS, "not built")), {"machine": {}}, None, "", (), ""),
        (told(dict.fromkeys(GRAPHS, "the GPU is not known"), None), {"installed": {}}, None, "", (), ""),
        (told(dict.fromkeys(GRAPHS, OLDER)), {"name": "agx-orin-jetpack-6.0"}, None, "", (), ""),
    ],
)
def test_what_is_said_of_engines(said, arguments, key, level, what, mend):
    found = findings(said, **arguments)
    spoken = [each for name, each in found.items() if name.startswith("engines.")]
    assert [each.key for each in spoken] == ([key] if key else [])
    for each in spoken:
        assert (each.level, each.mend) == (level, mend)
        assert all(words in each.what for words in what)
        assert "ONNX Runtime runs" in each.costs


@pytest.mark.parametrize(
    ("said", "row"),
    [
        (told({"embed": OLDER}), "3 of 4 valid for Orin 8GB (sm87) with TensorRT 10.3.0"),
        (told(dict.fromkeys(GRAPHS, "no TensorRT on this machine"), None), "none built"),
        (
            {**told(dict.fromkeys(GRAPHS, "no TensorRT on this machine"), None), "engines": [{"graph": "detect"}]},
            "none valid here: no TensorRT on this machine",
        ),
        ({"error": "it broke"}, "not known: it broke"),
    ],
)
def test_the_row(capsys, said, row):
    assert doctor(machine=board("orin-nano-super", {**TENSORRT, f"{ENGINES} parts": said}, BINDINGS)) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("engines"))
    assert row in " ".join(line.split())


def test_json_tells_of_each_graph(capsys):
    said = told({"embed": OLDER})
    machine = board("orin-nano-super", {**TENSORRT, f"{ENGINES} nuts": said}, BINDINGS)
    assert doctor(True, machine=machine, bundle="nuts") == 0
    bundle = json.loads(capsys.readouterr().out)["bundle"]
    assert (bundle["name"], bundle["device"]) == ("nuts", BUILT["device"])
    assert bundle["graphs"] == said["graphs"]


def test_a_bundle_that_is_not_there():
    with pytest.raises(BundleError, match="lost: no such bundle"):
        doctor(True, machine=board("desktop"), bundle="lost")


@pytest.mark.parametrize(
    ("said", "installed", "mend"),
    [
        ({"builds": False, "why": "wants float weights"}, {}, "nanoseg build --expand-int8"),
        (
            *({"builds": False, "why": "wants float weights"}, {"onnx": None}),
            'pip install "nanoseg[cpu]" && nanoseg build --expand-int8',
        ),
        ({"error": "RuntimeError: no GPU"}, {}, "nanoseg build --dry-run"),
    ],
)
def test_weights_in_int8(capsys, said, installed, mend):
    machine = board("orin-nano-super", {**TENSORRT, INT8: said}, {**BINDINGS, **installed})
    assert doctor(True, True, machine) == 0
    found = {each["key"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["self_test.tensorrt"]["mend"] == mend


@pytest.mark.parametrize("here", [ORIN, changed(ORIN, tensorrt="10.16.2"), None])
def test_the_probe_asks_the_store(tmp_path, monkeypatch, capsys, here):
    monkeypatch.setenv("NANOSEG_ENGINES", str(tmp_path))
    bundle = make_bundle(name="parts")
    embed = dataclasses.replace(bundle.graphs["embed"], precision="fp16")
    bundle = dataclasses.replace(bundle, graphs={**bundle.graphs, "embed": embed})
    EngineStore().put(bundle, ORIN, "detect", PLAN, record())
    monkeypatch.setattr("nanoseg.bundle.open_bundle", lambda name: bundle)
    monkeypatch.setattr(device, "find_device", lambda *_: (here, "" if here else "no CUDA driver on this machine"))
    assert probe.main(["engines", "parts"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(said["graphs"]) == list(GRAPHS)
    assert (said["device"], said["kind"]) == ((str(here), "tensorrt") if here else (None, None))
    detect, embed = said["graphs"]["detect"], said["graphs"]["embed"]
    whys = {"10.3.0": ("", "not built"), "10.16.2": (OLDER, "not built")}
    wanted = whys[here.tensorrt] if here else ("no CUDA driver on this machine",) * 2
    assert (detect["why"], embed["why"]) == wanted
    assert [name for name, graph in said["graphs"].items() if graph["valid"]] == (["detect"] if here == ORIN else [])
    assert detect["file"] == str(tmp_path / "parts" / ORIN.folder / "detect.engine")
    # Where the other would lie; without a device there is no such place.
    assert embed["file"] == (str(tmp_path / "parts" / here.folder / "embed.engine") if here else None)
    assert (detect["precision"], embed["precision"]) == ("fp32", "fp16")
    assert [each["graph"] for each in said["engines"]] == ["detect"]


def test_of_several_tensorrts_the_one_that_engines_are_for_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NANOSEG_ENGINES", str(tmp_path))
    bundle, rtx = make_bundle(name="parts"), changed(ORIN, tensorrt="1.7.1", kind="tensorrt-rtx")
    for name in GRAPHS[:3]:
        EngineStore().put(bundle, rtx, name, PLAN, record(name, device=rtx))
    monkeypatch.setattr("nanoseg.bundle.open_bundle", lambda name: bundle)
    monkeypatch.setattr(device, "find_device", lambda kind=None: (rtx if kind == "tensorrt-rtx" else ORIN, ""))
    assert probe.main(["engines", "parts"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["device"], said["kind"]) == (str(rtx), "tensorrt-rtx")
    assert [name for name, graph in said["graphs"].items() if graph["valid"]] == list(GRAPHS[:3])
    assert all(engine["valid"] for engine in said["engines"])
