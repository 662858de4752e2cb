"""`nanoseg doctor` and the engines of a bundle: which are valid here, and the command that builds them."""

import dataclasses
import json

import pytest

import nanoseg.backends.describe_engines  # noqa: F401  before open_bundle is replaced
from nanoseg.backends import find_device as device
from nanoseg.doctor import probe, state
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
    """Replace bundles by ones without files; `lost` does not exist."""

    def open_bundle(name):
        if name == "lost":
            raise BundleError("lost: no such bundle")
        return make_bundle(name="parts")

    monkeypatch.setattr(state, "open_bundle", open_bundle)


def probed(reasons, device=BUILT["device"]):
    """Output of the probe for four graphs; those without a reason are valid."""
    graphs = {name: {**ENGINE, "valid": name not in reasons, "why": reasons.get(name, "")} for name in GRAPHS}
    return {"device": device, "graphs": graphs, "engines": []}


def findings(engines, name="orin-nano-super", machine=TENSORRT, bundle="parts", test=None, installed=BINDINGS):
    gathered = state.read_state(board(name, {**machine, f"{ENGINES} {bundle}": engines}, installed), bundle)
    return {finding.key: finding for finding in diagnose(gathered, test)}


@pytest.mark.parametrize(
    ("engines", "arguments", "key", "level", "problem", "fix"),
    [
        (probed({}), {}, None, "", (), ""),
        (
            probed(dict.fromkeys(GRAPHS, "not built")),
            *({}, "engines.none", "note", ["no engine of the bundle parts is built for Orin 8GB (sm87)"]),
            "nanoseg build",
        ),
        (
            probed({"embed": "not built"}),
            *({}, "engines.invalid", "warning", ["1 of the 4 engines of the bundle parts", "embed: not built"]),
            "nanoseg build",
        ),
        (
            probed(dict.fromkeys(GRAPHS, OLDER)),
            *({}, "engines.invalid", "warning", ["4 of the 4", f"prepare: {OLDER}; detect: {OLDER}"]),
            "nanoseg build",
        ),
        (
            probed({"detect": "truncated: wanted 9 bytes, got 4", "embed": "not built"}),
            *({}, "engines.invalid", "warning", ["detect: truncated: wanted 9 bytes, got 4; embed: not built"]),
            "nanoseg build",
        ),
        (
            probed(dict.fromkeys(GRAPHS, "not built")),
            *({"bundle": "my bundles/nuts"}, "engines.none", "note", ["the bundle my bundles/nuts"]),
            "nanoseg build --bundle 'my bundles/nuts'",
        ),
        (
            probed(dict.fromkeys(GRAPHS, "not built")),
            *({"name": "desktop", "machine": RTX}, "engines.none", "note", ["the bundle parts"]),
            "nanoseg build --target tensorrt-rtx",
        ),
        # Both are installed: the existing engines decide.
        (
            {**probed({"embed": "not built"}), "kind": "tensorrt-rtx"},
            *({"name": "desktop", "machine": {**RTX, **FULL}}, "engines.invalid", "warning", ["embed: not built"]),
            "nanoseg build --target tensorrt-rtx",
        ),
        (
            {**probed({"embed": "not built"}), "kind": "tensorrt"},
            *({"name": "desktop", "machine": {**RTX, **FULL}}, "engines.invalid", "warning", ["embed: not built"]),
            "nanoseg build",
        ),
        (
            {"error": "/srv/engines: cannot be read: Permission denied"},
            *({}, "engines.unknown", "warning", ["/srv/engines: cannot be read: Permission denied"]),
            "nanoseg info parts",
        ),
        # Where nothing can be built, the findings are about TensorRT or the bindings, not about engines.
        (probed(dict.fromkeys(GRAPHS, "not built")), {"machine": {}}, None, "", (), ""),
        (probed(dict.fromkeys(GRAPHS, "the GPU is not known"), None), {"installed": {}}, None, "", (), ""),
        (probed(dict.fromkeys(GRAPHS, OLDER)), {"name": "agx-orin-jetpack-6.0"}, None, "", (), ""),
    ],
)
def test_check_engines(engines, arguments, key, level, problem, fix):
    found = findings(engines, **arguments)
    about_engines = [each for name, each in found.items() if name.startswith("engines.")]
    assert [each.key for each in about_engines] == ([key] if key else [])
    for each in about_engines:
        assert (each.level, each.fix) == (level, fix)
        assert all(text in each.problem for text in problem)
        assert "ONNX Runtime runs" in each.effect


@pytest.mark.parametrize(
    ("engines", "row"),
    [
        (probed({"embed": OLDER}), "3 of 4 valid for Orin 8GB (sm87) with TensorRT 10.3.0"),
        (probed(dict.fromkeys(GRAPHS, "no TensorRT on this machine"), None), "none built"),
        (
            {**probed(dict.fromkeys(GRAPHS, "no TensorRT on this machine"), None), "engines": [{"graph": "detect"}]},
            "none valid here: no TensorRT on this machine",
        ),
        ({"error": "it broke"}, "not known: it broke"),
    ],
)
def test_doctor_prints_a_row_of_engines(capsys, engines, row):
    assert doctor(machine=board("orin-nano-super", {**TENSORRT, f"{ENGINES} parts": engines}, BINDINGS)) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("engines"))
    assert row in " ".join(line.split())


def test_doctor_json_lists_each_graph(capsys):
    engines = probed({"embed": OLDER})
    machine = board("orin-nano-super", {**TENSORRT, f"{ENGINES} nuts": engines}, BINDINGS)
    assert doctor(True, machine=machine, bundle="nuts") == 0
    bundle = json.loads(capsys.readouterr().out)["bundle"]
    assert (bundle["name"], bundle["device"]) == ("nuts", BUILT["device"])
    assert bundle["graphs"] == engines["graphs"]


def test_doctor_refuses_a_missing_bundle():
    with pytest.raises(BundleError, match="lost: no such bundle"):
        doctor(True, machine=board("desktop"), bundle="lost")


@pytest.mark.parametrize(
    ("output", "installed", "fix"),
    [
        ({"builds": False, "why": "wants float weights"}, {}, "nanoseg build --expand-int8"),
        (
            *({"builds": False, "why": "wants float weights"}, {"onnx": None}),
            'pip install "nanoseg[cpu]" && nanoseg build --expand-int8',
        ),
        ({"error": "RuntimeError: no GPU"}, {}, "nanoseg build --dry-run"),
    ],
)
def test_doctor_fixes_int8_weights_that_do_not_build(capsys, output, installed, fix):
    machine = board("orin-nano-super", {**TENSORRT, INT8: output}, {**BINDINGS, **installed})
    assert doctor(True, True, machine) == 0
    found = {each["key"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["self_test.tensorrt"]["fix"] == fix


@pytest.mark.parametrize("here", [ORIN, changed(ORIN, tensorrt="10.16.2"), None])
def test_probe_reads_the_engine_store(tmp_path, monkeypatch, capsys, here):
    monkeypatch.setenv("NANOSEG_ENGINES", str(tmp_path))
    bundle = make_bundle(name="parts")
    embed = dataclasses.replace(bundle.graphs["embed"], precision="fp16")
    bundle = dataclasses.replace(bundle, graphs={**bundle.graphs, "embed": embed})
    EngineStore().put(bundle, ORIN, "detect", PLAN, record())
    monkeypatch.setattr("nanoseg.bundle.open_bundle", lambda name: bundle)
    monkeypatch.setattr(device, "find_device", lambda *_: (here, "" if here else "no CUDA driver on this machine"))
    assert probe.main(["engines", "parts"]) == 0
    output = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(output["graphs"]) == list(GRAPHS)
    assert (output["device"], output["kind"]) == ((str(here), "tensorrt") if here else (None, None))
    detect, embed = output["graphs"]["detect"], output["graphs"]["embed"]
    reasons = {"10.3.0": ("", "not built"), "10.16.2": (OLDER, "not built")}
    wanted = reasons[here.tensorrt] if here else ("no CUDA driver on this machine",) * 2
    assert (detect["why"], embed["why"]) == wanted
    assert [name for name, graph in output["graphs"].items() if graph["valid"]] == (["detect"] if here == ORIN else [])
    assert detect["file"] == str(tmp_path / "parts" / ORIN.folder / "detect.engine")
    # The path of an engine that is not built; without a device there is none.
    assert embed["file"] == (str(tmp_path / "parts" / here.folder / "embed.engine") if here else None)
    assert (detect["precision"], embed["precision"]) == ("fp32", "fp16")
    assert [each["graph"] for each in output["engines"]] == ["detect"]


def test_probe_prefers_the_tensorrt_that_engines_are_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NANOSEG_ENGINES", str(tmp_path))
    bundle, rtx = make_bundle(name="parts"), changed(ORIN, tensorrt="1.7.1", kind="tensorrt-rtx")
    for name in GRAPHS[:3]:
        EngineStore().put(bundle, rtx, name, PLAN, record(name, device=rtx))
    monkeypatch.setattr("nanoseg.bundle.open_bundle", lambda name: bundle)
    monkeypatch.setattr(device, "find_device", lambda kind=None: (rtx if kind == "tensorrt-rtx" else ORIN, ""))
    assert probe.main(["engines", "parts"]) == 0
    output = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (output["device"], output["kind"]) == (str(rtx), "tensorrt-rtx")
    assert [name for name, graph in output["graphs"].items() if graph["valid"]] == list(GRAPHS[:3])
    assert all(engine["valid"] for engine in output["engines"])
