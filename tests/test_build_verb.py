"""`nanoseg build`: what is built and what is left alone, what is kept, and what a user is told."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nanoseg.backends.trt_build import builders
from nanoseg.backends.trt_build.builders import Builder
from nanoseg.building import verb as module
from nanoseg.building.verb import Order
from nanoseg.building.verb import build as verb
from nanoseg.bundle import open_bundle
from nanoseg.errors import DependencyError, EngineError, NanosegError, UsageError
from nanoseg.store import Device, Store, shelves
from tests.engine_records import ORIN, RTX, record
from tests.fake_builder import Script, Tensor, fake_builder

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["prepare", "detect", "embed", "segment"]
INPUTS = (Tensor("frame", (1, "height", "width", 3)), Tensor("point_coords", ("prompts", "points", 2)))
NO_GPU = "no CUDA driver on this machine"
NO_INT8 = "INT8 constants are not taken"


@dataclass(frozen=True)
class Bench(Builder):
    """A builder with a device of the test's own."""

    here: Device | None = ORIN
    refuses: str = ""

    def device(self):
        return self.here, "" if self.here else NO_GPU

    def why_no_int8_constants(self):
        self.api.asked += 1
        return self.refuses


def bench(script=None, here=ORIN, refuses="", api=None):
    api = api or fake_builder(script or Script(), here.tensorrt if here else "10.3.0")
    api.asked = 0
    return Bench(api, here.kind if here else "tensorrt", api.__version__, here, refuses)


@pytest.fixture
def engines(tmp_path):
    return tmp_path / "engines"


@pytest.fixture(scope="module")
def bundle():
    return open_bundle("parts")


@pytest.fixture(autouse=True)
def read_once(bundle, monkeypatch):
    """Tens of megabytes need not be verified for each test."""
    found = {"parts": lambda: bundle}
    monkeypatch.setattr(module, "open_bundle", lambda name: found.get(name, lambda: open_bundle(name))())


@pytest.fixture
def int8_bundle(bundle, monkeypatch):
    """The embedded bundle, its detector in INT8 and the rest float32."""
    precisions = dict.fromkeys(bundle.graphs, "fp32") | {"detect": "int8"}
    graphs = {name: replace(graph, precision=precisions[name]) for name, graph in bundle.graphs.items()}
    made = replace(bundle, graphs=graphs)
    monkeypatch.setattr(module, "open_bundle", lambda _: made)
    return made


def lines(capfd):
    out, err = capfd.readouterr()
    assert err == ""
    return out.splitlines()


def built(builder):
    """How many engines its TensorRT was asked for since this was last called."""
    graphs = builder.api.script.graphs
    count = len(graphs)
    graphs.clear()
    return count


# --- built, kept, and left alone ---


def test_every_engine_is_built_and_kept_with_its_record(engines, bundle, capfd):
    builder = bench(Script(plan=b"an engine", memory=2_500_000))
    assert verb(Order(engines=engines), builder) == 0
    store = Store(engines)
    folder = store.folder("parts", ORIN)
    told = lines(capfd)
    assert told[:2] == [f"parts {bundle.version}: engines for {ORIN}", f"  into     {folder}"]
    assert [line.split()[0] for line in told[2:6]] == NAMES
    for name, line in zip(NAMES, told[6:10], strict=True):
        assert re.fullmatch(rf"  {name} built in \d+\.\d s: 0\.0 MB, 2\.5 MB more to run in", line)
    assert re.fullmatch(r"4 engines built in \d+\.\d s", told[10])
    for name in NAMES:
        assert store.check(bundle, name, ORIN).read_bytes() == b"an engine"
        made = store.read(bundle, ORIN)[name].record
        assert made == record(
            name,
            b"an engine",
            graph_sha256=bundle.graphs[name].sha256,
            precision=bundle.graphs[name].precision,
            recipe=made.recipe,
            profiles={},
            workspace_mb=256 if name == "segment" else 512,
            build_seconds=made.build_seconds,
            built_at=made.built_at,
            device_memory_bytes=2_500_000,
        )
        assert made.recipe.name == f"{name}.toml"
    assert builder.api.script.graphs == [bundle.graphs[name].path.read_bytes() for name in NAMES]
    assert sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock")) == sorted(
        [*(f"{name}.engine" for name in NAMES), "engines.json", "timing.cache"]
    )


def test_what_is_there_is_left_alone(engines, bundle, capfd):
    builder = bench()
    verb(Order(engines=engines), builder)
    assert built(builder) == 4
    lines(capfd)
    assert verb(Order(engines=engines), builder) == 0
    assert built(builder) == 0
    told = lines(capfd)
    assert all(
        re.search(rf"  {name} +\w+  is there, built at 20", line) for name, line in zip(NAMES, told[2:], strict=False)
    )
    assert told[-1] == "nothing to build; --force builds anew"
    verb(Order(engines=engines, force=True), builder)
    assert built(builder) == 4


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"max_objects": 16}, 1),
        ({"max_frame": "1920x1080"}, 1),
        ({"workspace_mb": 100}, 4),
        ({"only": ["detect", "embed"]}, 0),
        ({"only": ["detect"], "force": True}, 1),
    ],
)
def test_what_a_flag_changes_is_built_anew(engines, change, count):
    builder = bench()
    verb(Order(engines=engines), builder)
    built(builder)
    verb(Order(engines=engines, **change), builder)
    assert built(builder) == count
    verb(Order(engines=engines, **{**change, "force": False}), builder)
    assert built(builder) == 0


def test_a_recipe_of_ones_own_and_a_damaged_engine_are_built_anew(engines, bundle, capfd):
    builder = bench()
    verb(Order(engines=engines), builder)
    built(builder)
    text = (ROOT / "nanoseg" / "recipes" / "embed.toml").read_text()
    (engines / "embed.toml").write_text(text.replace("tf32 = true", "tf32 = false").replace("fp16", "int8"))
    (Store(engines).folder("parts", ORIN) / "prepare.engine").write_bytes(b"pla")
    lines(capfd)
    verb(Order(engines=engines), builder)
    assert built(builder) == 2
    told = lines(capfd)
    assert re.search(r"^  embed    fp\d+  512 MB of workspace, without TF32, though embed.toml is for int8$", told[4])
    assert [line.split()[0] for line in told if " built in " in line] == ["prepare", "embed", "2"]


def test_an_engine_made_elsewhere_is_left_alone(engines, bundle):
    plan = b"torch2trt's"
    made = record("embed", plan, graph_sha256=bundle.graphs["embed"].sha256, origin="encoder.pth")
    Store(engines).put(bundle, ORIN, "embed", plan, made)
    builder = bench()
    verb(Order(engines=engines), builder)
    assert built(builder) == 3
    verb(Order(engines=engines, only=["embed"], force=True), builder)
    assert built(builder) == 1


def test_a_version_compatible_engine_of_an_earlier_tensorrt_does_not_count(engines, bundle):
    earlier = Device(ORIN.gpu, ORIN.compute_capability, "10.1.0")
    made = record("embed", b"x", earlier, graph_sha256=bundle.graphs["embed"].sha256, version_compatible=True)
    Store(engines).put(bundle, earlier, "embed", b"x", made)
    assert Store(engines).read(bundle, ORIN)["embed"].valid
    builder = bench()
    verb(Order(engines=engines, only=["embed"]), builder)
    assert built(builder) == 1


def test_flags_reach_the_profiles_and_the_record(engines, bundle):
    builder = bench(Script(INPUTS))
    verb(
        Order(engines=engines, only=["prepare"], max_frame="640x480", workspace_mb=7), builder=bench(Script(INPUTS[:1]))
    )
    verb(Order(engines=engines, only=["segment"], max_objects=16), bench(Script(INPUTS[1:])))
    made = {name: state.record for name, state in Store(engines).read(bundle, ORIN).items()}
    assert made["prepare"].profiles["frame"].max == [1, 480, 640, 3]
    assert made["segment"].profiles["point_coords"].max == [16, 16, 2]
    assert (made["prepare"].workspace_mb, made["segment"].workspace_mb) == (7, 512)
    with pytest.raises(EngineError, match=r"^prepare\.onnx: 'point_coords': side 0 varies \(prompts\)"):
        verb(Order(engines=engines, only=["prepare"], force=True), builder)


def test_tensorrt_for_rtx_keeps_no_timing_cache(engines, bundle):
    api = fake_builder(version=RTX.tensorrt, name="tensorrt_rtx")
    verb(Order(engines=engines, only=["embed"]), bench(here=RTX, api=api))
    assert Store(engines).check(bundle, "embed", RTX)
    assert not list(engines.rglob("timing.cache"))


# --- for machines, and thrown away ---


def test_json(engines, bundle, capfd):
    builder = bench(Script(INPUTS[:1], plan=b"12345", memory=77))
    order = Order(engines=engines, only=["prepare"], json=True)
    folder = Store(engines).folder("parts", ORIN)
    for first in (True, False):
        assert verb(order, builder) == 0
        told = json.loads(capfd.readouterr().out)
        (engine,) = told.pop("engines")
        seconds = (told.pop("seconds"), engine.pop("seconds"))
        assert seconds[0] >= 0
        assert (seconds[1] is None) == (not first)
        assert told == {
            "bundle": "parts",
            "version": bundle.version,
            "target": "tensorrt",
            "tensorrt": "10.3.0",
            "gpu": "Orin 8GB",
            "folder": str(folder),
            "dry_run": False,
        }
        assert engine == {
            "graph": "prepare",
            "built": first,
            "file": str(folder / "prepare.engine"),
            "bytes": 5,
            "device_memory_bytes": 77,
            "precision": "fp32",
            "recipe": str(ROOT / "nanoseg" / "recipes" / "prepare.toml"),
            "workspace_mb": 512,
            "tf32": True,
            "version_compatible": False,
            "int8_expanded": False if first else None,
            "profiles": {"frame": {"min": [1, 120, 160, 3], "opt": [1, 720, 1280, 3], "max": [1, 2160, 3840, 3]}},
        }


@pytest.mark.parametrize("here", [ORIN, None])
def test_a_dry_run_keeps_nothing_and_loads_nothing(here, engines, capfd):
    builder = bench(Script(loads=False), here)
    assert verb(Order(engines=engines, dry_run=True), builder) == 0
    assert built(builder) == 4
    assert not engines.exists()
    told = lines(capfd)
    assert told[0].endswith(": engines with TensorRT 10.3.0, to see whether they build")
    assert told[-1].endswith("; nothing was kept, as --dry-run wants it")


def test_a_real_dry_run(call, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    flags = ("--target", "tensorrt-rtx", "--dry-run", "--only", "prepare", "--engines", tmp_path / "e", "--json")
    code, out, err = call("build", *flags)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["target"], told["gpu"], told["folder"], told["dry_run"]) == ("tensorrt-rtx", None, None, True)
    assert told["engines"][0]["bytes"] > 100_000
    assert not (tmp_path / "e").exists()


def test_a_real_engine_goes_through_the_store(engines, bundle):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    # All of it but the half that wants a GPU.
    api = types.ModuleType("tensorrt_rtx")
    vars(api).update({name: getattr(rtx, name) for name in dir(rtx) if not name.startswith("_")})
    api.__version__, api.Runtime = RTX.tensorrt, Loads
    verb(Order(engines=engines, only=["prepare"]), bench(here=RTX, api=api))
    path = Store(engines).check(bundle, "prepare", RTX)
    assert path.stat().st_size > 100_000
    assert Store(engines).read(bundle, RTX)["prepare"].record.device_memory_bytes == 99


class Loads:
    def __init__(self, log):
        pass

    def deserialize_cuda_engine(self, plan):
        return types.SimpleNamespace(device_memory_size_v2=99)


# --- INT8 weights ---


def expansions(monkeypatch):
    """Stand in for what needs onnx; gives the files that it is asked for."""
    asked = []
    module = types.ModuleType("nanoseg.graphs.expand")
    module.expand_file = lambda path: (asked.append(path.name), b"expanded")[1]
    monkeypatch.setitem(sys.modules, "nanoseg.graphs.expand", module)
    return asked


@pytest.mark.parametrize(
    ("refuses", "flag", "asked", "expanded"), [("", False, 1, False), (NO_INT8, False, 1, True), ("", True, 0, True)]
)
def test_int8_weights_are_expanded_where_they_must(
    refuses, flag, asked, expanded, engines, int8_bundle, monkeypatch, capfd
):
    files, builder = expansions(monkeypatch), bench(refuses=refuses)
    verb(Order(engines=engines, expand_int8=flag), builder)
    assert builder.api.asked == asked
    assert files == (["detect.onnx"] if expanded else [])
    assert builder.api.script.graphs.count(b"expanded") == expanded
    told = lines(capfd)
    assert any("INT8 weights expanded" in line for line in told) == expanded
    said = f"  TensorRT 10.3.0 does not build weights stored in INT8: {NO_INT8}"
    assert (said in told) == bool(refuses)
    # The engine is that of the bundle's own graph.
    assert Store(engines).check(int8_bundle, "detect", ORIN)
    verb(Order(engines=engines), builder)
    assert builder.api.asked == asked  # there is nothing to ask for


def test_a_bundle_without_int8_asks_nothing(engines, int8_bundle):
    builder = bench(refuses=NO_INT8)
    verb(Order(engines=engines, only=["prepare", "embed"]), builder)
    assert builder.api.asked == 0


def test_expanding_without_onnx_is_one_line(engines, int8_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("nanoseg.graphs")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DependencyError) as error:
        verb(Order(engines=engines, only=["detect"]), bench(refuses=NO_INT8))
    assert str(error.value) == (
        "detect.onnx: giving TensorRT 10.3.0 its INT8 weights as floats needs onnx: "
        'onnx is not installed: pip install "nanoseg[bundle]"'
    )


def test_the_question_is_asked_of_the_real_one():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    assert builders.find_builder("tensorrt-rtx").why_no_int8_constants() == ""


def test_a_tensorrt_that_cannot_even_be_asked(monkeypatch):
    def fail(kind):
        raise TypeError("pybind11::init(): factory function\nreturned nullptr")

    monkeypatch.setattr(builders, "int8_constant_builds", fail)
    with pytest.raises(EngineError) as error:
        Builder(fake_builder(), "tensorrt", "10.3.0").why_no_int8_constants()
    assert str(error.value) == (
        "TensorRT 10.3.0 does not start here: pybind11::init(): factory function returned nullptr; "
        "nanoseg doctor tells what is missing"
    )


def test_a_tensorrt_that_refuses_says_why(monkeypatch):
    monkeypatch.setattr(builders, "int8_constant_builds", lambda kind: {"builds": False, "why": f"{kind}: {NO_INT8}"})
    assert Builder(fake_builder(), "tensorrt", "10.3.0").why_no_int8_constants() == f"tensorrt: {NO_INT8}"


def test_ctrl_c_is_heard_while_the_question_is_asked(monkeypatch):
    def ask(kind):
        # In the main thread it would be raised in here, where TensorRT's bindings swallow what a callback raises.
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return {"builds": True, "why": ""}

    monkeypatch.setattr(builders, "int8_constant_builds", ask)
    with pytest.raises(KeyboardInterrupt):
        Builder(fake_builder(), "tensorrt", "10.3.0").why_no_int8_constants()


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("order", "error", "told"),
    [
        ({"target": "cuda"}, UsageError, "--target: wanted tensorrt or tensorrt-rtx, got cuda"),
        ({"only": ["polish"]}, UsageError, "--only: parts has no graph polish; its graphs are prepare, detect, embed"),
        ({"max_frame": "big"}, UsageError, "--max-frame: wanted WIDTHxHEIGHT such as 1920x1080, got big"),
        ({"max_frame": "1920x"}, UsageError, "--max-frame: wanted WIDTHxHEIGHT"),
        ({"max_frame": "0x0"}, UsageError, "--max-frame: .*: wanted 1[26]0 or more, got 0"),
        ({"bundle": "nothing"}, NanosegError, "nothing: no such bundle"),
    ],
)
def test_a_wrong_order(order, error, told, engines):
    builder = bench()
    with pytest.raises(error, match=told):
        verb(Order(engines=engines, **order), builder)
    assert not engines.exists()
    assert built(builder) == 0


def test_without_a_gpu_it_is_one_line(engines):
    with pytest.raises(EngineError) as error:
        verb(Order(engines=engines), bench(here=None))
    assert str(error.value) == (
        f"parts: no engine can be built here: {NO_GPU}; whether its graphs build can be seen without a GPU: "
        "--target tensorrt-rtx --dry-run"
    )
    assert not engines.exists()


@pytest.mark.parametrize(
    ("installed", "target", "told"),
    [
        ({}, None, "TensorRT is not installed"),
        ({"tensorrt_rtx": "1.7.1"}, "tensorrt", "TensorRT is not installed"),
        (
            {"tensorrt": OSError("libnvinfer.so.10:\nno such file")},
            None,
            "tensorrt cannot be loaded: libnvinfer.so.10: no",
        ),
        ({"tensorrt": "8.5.2.2"}, None, "TensorRT 8.5.2.2 is too old: nanoseg wants 10.3 or newer; JetPack 6.1"),
        ({"tensorrt": "10.2.0"}, "tensorrt", "TensorRT 10.2.0 is too old"),
    ],
)
def test_no_tensorrt_that_builds(installed, target, told, monkeypatch, call):
    install(monkeypatch, installed)
    code, out, err = call("build", *(("--target", target) if target else ()), "--dry-run")
    assert (code, out) == (5 if "too old" in told else 6, "")
    assert re.fullmatch(r"nanoseg: error: [^\n]+\n", err)
    assert told in err


@pytest.mark.parametrize(
    ("installed", "target", "found"),
    [
        ({"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}, None, "TensorRT 10.3.0"),
        ({"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}, "tensorrt-rtx", "TensorRT for RTX 1.7.1"),
        ({"tensorrt_rtx": "1.7.1"}, None, "TensorRT for RTX 1.7.1"),
        ({"tensorrt": "11.4.0.106"}, "tensorrt", "TensorRT 11.4.0.106"),
    ],
)
def test_which_tensorrt_builds(installed, target, found, monkeypatch):
    install(monkeypatch, installed)
    assert str(builders.find_builder(target)) == found


def install(monkeypatch, versions):
    def import_module(name):
        if name not in versions:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(versions[name], Exception):
            raise versions[name]
        return fake_builder(version=versions[name], name=name)

    monkeypatch.setattr("nanoseg.backends.trt.plan.importlib", types.SimpleNamespace(import_module=import_module))


def test_a_device_is_looked_for_with_the_tensorrt_that_builds(monkeypatch):
    asked = []
    monkeypatch.setattr(builders, "look_for_device", lambda kind: (asked.append(kind), (RTX, ""))[1])
    assert Builder(fake_builder(), "tensorrt_rtx", "1.7.1").device() == (RTX, "")
    assert asked == ["tensorrt_rtx"]


def leftovers(engines):
    return [path.name for path in engines.rglob("*") if ".part" in path.name]


def test_a_full_disk_keeps_what_was_built_before(engines, bundle, monkeypatch):
    write = shelves._replace

    def full(contents):
        if any(path.name == "embed.engine" for path in contents):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(contents)

    monkeypatch.setattr(shelves, "_replace", full)
    with pytest.raises(EngineError, match=r"embed\.engine: cannot be written: No space left on device"):
        verb(Order(engines=engines), bench())
    states = Store(engines).read(bundle, ORIN)
    assert {name: state.why for name, state in states.items()} == {
        "prepare": "",
        "detect": "",
        "embed": "not built",
        "segment": "not built",
    }
    assert leftovers(engines) == []


def test_ctrl_c_keeps_what_was_built_before(engines, bundle, capfd):
    builder = bench(Script(steps=5))

    def step(number):
        if number == 2 and len(builder.api.script.graphs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            until = time.monotonic() + 60
            while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL and time.monotonic() < until:
                time.sleep(0.01)  # until it was heard

    builder.api.script.at_step = step
    assert verb(Order(engines=engines), builder) == 130
    assert capfd.readouterr().err == "nanoseg: interrupted: 2 of 4 engines built; what was built before is kept\n"
    assert [state.valid for state in Store(engines).read(bundle, ORIN).values()] == [True, True, False, False]
    assert leftovers(engines) == []
    builder.api.script.at_step = None
    assert verb(Order(engines=engines), builder) == 0
    assert len(builder.api.script.graphs) == 3 + 2


def test_two_builds_at_once(engines, bundle):
    with Store(engines).building(bundle, ORIN), pytest.raises(EngineError, match="another build of these engines is"):
        verb(Order(engines=engines), bench())


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_built(tmp_path):
    (tmp_path / "file").write_text("")
    builder = bench()
    with pytest.raises(EngineError, match="cannot be written: Not a directory"):
        verb(Order(engines=tmp_path / "file"), builder)
    assert built(builder) == 0


# --- the command line ---


def test_flags_reach_the_verb(call, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(module, "build", lambda order: seen.append(order) or 130)
    flags = "--bundle b --target tensorrt --max-frame 640x480 --max-objects 3 --workspace 9 --only detect --only embed"
    switches = ("--force", "--dry-run", "--expand-int8", "--json")
    assert call("build", *flags.split(), *switches, "--engines", tmp_path) == (130, "", "")
    assert call("build")[0] == 130
    given = Order("b", "tensorrt", tmp_path, "640x480", 3, 9, ["detect", "embed"], True, True, True, True)
    assert seen == [given, Order(only=())]


def test_help(call):
    code, out, err = call("build", "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    assert "  nanoseg build" in out


def test_the_tool_is_the_verb():
    tool = [sys.executable, "tools/build_engines.py", "--only", "polish"]
    done = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nanoseg: error: --only: parts has no graph polish")
