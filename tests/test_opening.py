"""Which engines are taken, of which TensorRT; what auto says where it leaves some; and what is loaded."""

import ctypes
import gc
import io
import json
import logging
import shlex
import subprocess
import sys
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import nanoseg
import nanoseg.backends.ort
from nanoseg.backends import device as devices
from nanoseg.bundle import open_bundle
from nanoseg.cli import run_command
from nanoseg.errors import DependencyError, EngineError, UsageError
from nanoseg.recipes import read_recipe
from nanoseg.store import NO_TENSORRT, Device, Store
from tests.conftest import ROOT
from tests.contract.backends import FAKES, backend
from tests.contract.conftest import engines, tiny  # noqa: F401
from tests.data.fill_weights import image_u8
from tests.engine_records import changed, record
from tests.fake_cuda import FakeCuda
from tests.fake_ort_gpu import FakeOrtGpu
from tests.fake_trt_plan import fake_plan, profile_of
from tests.fake_trt_runtime import fake_trt

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")

IMAGE = image_u8(1, 120, 160)
DESKTOP = list(FAKES)[1]
FULL = Device("NVIDIA GeForce RTX 4090", (8, 9), "11.4.0", "tensorrt")
RTX = changed(FULL, tensorrt="1.7.1", kind="tensorrt_rtx")
LEAN = changed(FULL, tensorrt="11.5.0", kind="tensorrt_lean")
ELSEWHERE = changed(FULL, gpu="Orin 8GB", compute_capability=(8, 7), tensorrt="10.3.0")
GRAPHS = ("prepare", "detect", "embed", "segment")


@pytest.fixture
def on(tiny, engines, monkeypatch):  # noqa: F811
    """The tiny bundle on one of FAKES, opened in a `with`."""
    return lambda name=DESKTOP: backend(name, tiny, engines / "tiny", monkeypatch)


class Machine:
    """A made-up GPU, the TensorRTs that are installed, and a store in a folder of its own."""

    def __init__(self, path, folder, monkeypatch):
        self.path, self.bundle, self.engines = path, open_bundle(path), folder
        self.store, self._patch = Store(folder), monkeypatch
        self.cuda = FakeCuda().install(monkeypatch)
        self.asked = []  # TensorRTs that were loaded
        monkeypatch.setattr(devices, "find_spec", lambda name: None)
        for kind in devices.LIBRARIES:
            monkeypatch.delitem(sys.modules, kind, raising=False)
        look = devices._tensorrt
        monkeypatch.setattr(devices, "_tensorrt", lambda kinds: (self.asked.extend(kinds), look(kinds))[1])

    def install(self, *installed):
        for device in installed:
            fake_trt(self.cuda, device.tensorrt, device.kind).fake.install(self._patch)

    def put(self, device, names=GRAPHS, bundle=None, **told):
        """Made-up engines; gives the path of the last."""
        bundle = bundle or self.bundle
        for name in names:
            graph = bundle.graphs[name].path.read_bytes()
            profile = profile_of(graph, read_recipe(name).dimensions)
            plan = fake_plan(graph, profile, kind=device.kind, version=device.tensorrt, **told)
            made = record(name, plan, device, graph_sha256=bundle.graphs[name].sha256, **told)
            path = self.store.put(bundle, device, name, plan, made)
        return path

    def load(self, backend="auto"):
        return nanoseg.load(self.path, backend, engines=self.engines, confidence=0.2)


@pytest.fixture
def machine(tiny, tmp_path, monkeypatch):  # noqa: F811
    made = Machine(tiny, tmp_path / "engines", monkeypatch)
    yield made
    made.cuda.check()


def alter(path):
    """Another content of the same size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def none_of_it(machine, backend="onnxruntime"):
    return f"tiny: runs on {backend}, as {machine.engines}, the folder of engines that was given, has none of it"


def info_line(machine):
    return shlex.join(["nanoseg", "info", str(machine.path), "--engines", str(machine.engines)])


def no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setattr(ctypes, "CDLL", missing)


def told(caplog):
    """What the logger of nanoseg was given."""
    found = [entry for entry in caplog.records if entry.name == "nanoseg"]
    assert all(entry.levelno == logging.WARNING and "\n" not in entry.getMessage() for entry in found)
    return [entry.getMessage() for entry in found]


# --- several TensorRTs on one machine ---


def whole(*built):
    return lambda machine: [machine.put(device) for device in built]


def full_lacks_one(machine):
    machine.put(FULL, GRAPHS[:3])
    machine.put(RTX)


def full_is_older(machine):
    machine.put(changed(FULL, tensorrt="11.3.0"))
    machine.put(RTX)


def full_was_altered(machine):
    alter(machine.put(FULL))
    machine.put(RTX)


def compatible_with_lean(machine):
    machine.put(changed(FULL, tensorrt="11.4.2"), version_compatible=True)


@pytest.mark.parametrize("name", ["auto", "tensorrt"])
@pytest.mark.parametrize(
    ("build", "taken", "loaded"),
    [
        (whole(FULL), FULL, ["tensorrt"]),
        (whole(RTX), RTX, ["tensorrt_rtx"]),  # the other is not even loaded
        (whole(FULL, RTX), FULL, ["tensorrt"]),
        (whole(ELSEWHERE, RTX), RTX, ["tensorrt", "tensorrt_rtx"]),
        (full_lacks_one, RTX, ["tensorrt", "tensorrt_rtx"]),
        (full_is_older, RTX, ["tensorrt", "tensorrt_rtx"]),
        (full_was_altered, RTX, ["tensorrt", "tensorrt_rtx"]),
        (compatible_with_lean, LEAN, ["tensorrt", "tensorrt_lean"]),
    ],
)
def test_the_first_is_taken_whose_engines_are_all_valid(build, taken, loaded, name, machine, caplog):
    machine.install(FULL, RTX, LEAN)
    build(machine)
    with machine.load(name) as segmenter:
        assert (segmenter.backend, segmenter.device) == ("tensorrt", str(taken))
        assert len(segmenter(IMAGE)) > 3
    assert machine.asked == loaded
    assert not told(caplog)


@pytest.mark.parametrize(
    ("build", "why", "rtx"),
    [
        (lambda machine: None, f"{FULL.folder}/prepare.engine: not built", False),
        (lambda machine: machine.put(RTX, ["prepare"]), f"{RTX.folder}/detect.engine: not built", True),
        (
            lambda machine: (machine.put(FULL, ["prepare"]), machine.put(RTX, GRAPHS[:2])),
            f"{RTX.folder}/embed.engine: not built",
            True,
        ),
        (
            lambda machine: (machine.put(FULL, GRAPHS[:2]), machine.put(RTX, GRAPHS[2:])),
            f"{RTX.folder}/embed.engine: built by TensorRT for RTX 1.7.1, here is TensorRT 11.4.0",
            False,
        ),
        # What is for another GPU does not count.
        (
            lambda machine: (machine.put(ELSEWHERE, ["prepare"]), machine.put(RTX, ["prepare"])),
            f"{RTX.folder}/detect.engine: not built",
            True,
        ),
    ],
)
def test_the_error_is_about_the_nearest(build, why, rtx, machine):
    machine.install(FULL, RTX)
    build(machine)
    with pytest.raises(EngineError) as error:
        machine.load("tensorrt")
    path, _, command = str(error.value).partition("; build it here: ")
    assert path == f"{machine.engines}/tiny/{why}"
    wanted = ["nanoseg", "build", "--bundle", str(machine.path)] + ["--target", "tensorrt-rtx"] * rtx
    assert shlex.split(command) == [*wanted, "--engines", str(machine.engines)]


# --- what auto takes, and what it says ---


def test_auto_takes_tensorrt_where_all_engines_are_valid(on):
    with on() as run:
        with nanoseg.load(run.bundle, engines=run.engines) as segmenter:
            assert (segmenter.backend, segmenter.device) == ("tensorrt", str(FULL))
        with nanoseg.load(run.bundle, engines=run.engines, resize="nanosam") as segmenter:
            assert segmenter.backend == "onnxruntime"
        with pytest.raises(
            UsageError, match="resize: backend tensorrt prepares frames on the GPU, as cv2 does; pil is"
        ):
            nanoseg.load(run.bundle, "tensorrt", engines=run.engines, resize="pil")


def older_tensorrt(machine):
    machine.put(changed(FULL, tensorrt="11.3.0"))


def older_graph(machine):
    bundle = machine.bundle
    graphs = {**bundle.graphs, "embed": replace(bundle.graphs["embed"], sha256="5" * 64)}
    machine.put(FULL, bundle=replace(bundle, graphs=graphs))


def edit_sidecar(edit):
    def do(machine):
        path = machine.put(FULL).parent / "engines.json"
        path.write_text(edit(path.read_text()))

    return do


def without_segment(text):
    records = json.loads(text)
    del records["engines"]["segment"]
    return json.dumps(records)


def shorter(machine):
    path = machine.put(FULL)
    path.write_bytes(path.read_bytes()[:-1])


def a_file_for_a_folder(machine):
    machine.engines.mkdir()
    (machine.engines / "tiny").write_text("a file")


LEFT = [
    (older_tensorrt, "prepare.engine: built by TensorRT 11.3.0, here is TensorRT 11.4.0"),
    (older_graph, "embed.engine: built from an older embed.onnx, sha256 555555555555; the bundle's is "),
    (lambda machine: machine.put(FULL, GRAPHS[:3]), "segment.engine: not built"),
    (lambda machine: machine.put(RTX), "prepare.engine: built by TensorRT for RTX 1.7.1, here is TensorRT 11.4.0"),
    (edit_sidecar(without_segment), "segment.engine: engines.json beside it has no record of it, so its build was cut"),
    (edit_sidecar(lambda text: text[:99]), "prepare.engine: engines.json beside it is damaged: Input data was truncat"),
    (shorter, "segment.engine: truncated: wanted "),
    (lambda machine: alter(machine.put(FULL)), "segment.engine: altered since it was built: wanted sha256 "),
]


@pytest.mark.parametrize(("build", "why"), LEFT)
def test_auto_says_why_it_leaves_engines_that_were_built(build, why, machine, caplog):
    machine.install(FULL)
    build(machine)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
        assert len(segmenter(IMAGE)) > 3
    (line,) = told(caplog)
    assert line.startswith("tiny: runs on onnxruntime, not on the engines that were built: /")
    assert f"/{why}" in line
    command = line.rpartition("; build it here: ")[2]
    assert shlex.split(command)[:4] == ["nanoseg", "build", "--bundle", str(machine.path)]
    caplog.clear()
    logging.getLogger("nanoseg").setLevel(logging.ERROR)
    try:
        machine.load().close()
    finally:
        logging.getLogger("nanoseg").setLevel(logging.NOTSET)
    assert not told(caplog)


@pytest.mark.parametrize(
    "build",
    [
        lambda machine: machine.put(ELSEWHERE),
        lambda machine: machine.put(ELSEWHERE).with_name("engines.json").write_text("damaged"),
    ],
    ids=["for another GPU", "for another GPU, and damaged"],
)
@pytest.mark.parametrize("installed", [(FULL,), ()])
def test_auto_says_nothing_where_nothing_was_built_for_this_gpu(build, installed, machine, caplog):
    machine.install(*installed)
    build(machine)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert not told(caplog)


def test_auto_says_that_the_folder_that_was_given_has_none(machine, caplog):
    """A mistyped one; the usual folder is empty on most machines, and nothing is said of it."""
    machine.install(FULL)
    machine.put(FULL, bundle=replace(machine.bundle, name="another"))
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert told(caplog) == [none_of_it(machine)]
    caplog.clear()
    with nanoseg.load(machine.path, resize="nanosam", engines=machine.engines):
        assert not told(caplog)


def test_auto_says_nothing_of_an_empty_folder_that_is_the_usual_one(machine, caplog, monkeypatch):
    machine.install(FULL)
    monkeypatch.setenv("NANOSEG_ENGINES", str(machine.engines))
    nanoseg.load(machine.path).close()
    assert not told(caplog)


def test_auto_says_that_there_is_no_tensorrt_for_the_engines_of_this_gpu(machine, caplog):
    """As in a Jetson's virtual environment that was made without --system-site-packages."""
    machine.put(FULL)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    why = f"not on the engines that were built: tensorrt: {NO_TENSORRT}; {info_line(machine)} tells of each engine"
    assert told(caplog) == [f"tiny: runs on onnxruntime, {why}"]
    with pytest.raises(EngineError, match=f"^tensorrt: {NO_TENSORRT}; --backend onnxruntime runs the bundle without$"):
        machine.load("tensorrt")


def test_the_line_that_tells_more_is_one(machine, capsys):
    machine.install(FULL)
    machine.put(FULL)
    assert run_command(shlex.split(info_line(machine))[1:]) == 0
    assert str(machine.engines) in capsys.readouterr().out


def test_without_a_driver_no_tensorrt_is_loaded_and_nothing_said(machine, caplog, monkeypatch):
    """A PC that holds a Jetson's engines, or its own of a time when it had a GPU."""
    machine.install(FULL)
    machine.put(FULL)
    machine.put(ELSEWHERE)
    no_driver(monkeypatch)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert not told(caplog)
    why = "tensorrt: no NVIDIA driver: libcuda cannot be loaded; --backend onnxruntime runs the bundle without"
    with pytest.raises(EngineError, match=f"^{why}$"):
        machine.load("tensorrt")
    assert not machine.asked


def test_auto_says_that_the_gpu_does_not_start(machine, caplog):
    """An engine was built once, so it did."""
    machine.install(FULL)
    machine.cuda.fails["cuInit"] = "NO_DEVICE"
    machine.load().close()
    assert told(caplog) == [none_of_it(machine)]
    caplog.clear()
    machine.put(FULL)
    machine.load().close()
    why = "tensorrt: no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE"
    line = f"not on the engines that were built: {why}; {info_line(machine)} tells of each engine"
    assert told(caplog) == [f"tiny: runs on onnxruntime, {line}"]
    with pytest.raises(EngineError) as error:
        machine.load("tensorrt")
    assert str(error.value) == f"{why}; --backend onnxruntime runs the bundle without"
    assert not machine.asked


def test_auto_says_that_tensorrt_cannot_be_loaded(machine, caplog, monkeypatch):
    machine.put(FULL)
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    machine.load().close()
    (line,) = told(caplog)
    assert (
        "tensorrt: tensorrt cannot be loaded: module 'tensorrt' has no attribute '__version__'; nanoseg info /" in line
    )


@pytest.mark.parametrize("installed", [True, False])
def test_a_store_that_cannot_be_read(installed, machine, caplog):
    if installed:
        machine.install(FULL)
    a_file_for_a_folder(machine)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    why = f"{machine.engines}/tiny: cannot be read: Not a directory"
    assert told(caplog) == [f"tiny: runs on onnxruntime, not on the engines that were built: {why}"]
    with pytest.raises(EngineError) as error:
        machine.load("tensorrt")
    assert str(error.value) == why


def test_a_user_without_a_home_has_built_nothing(machine, caplog, monkeypatch):
    machine.install(FULL)

    def no_home(given):
        raise EngineError("engines: this user has no home folder")

    monkeypatch.setattr("nanoseg.store.shelves.engines_folder", no_home)
    with nanoseg.load(machine.path) as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert not told(caplog)
    with pytest.raises(EngineError, match="this user has no home folder"):
        machine.load("tensorrt")


def test_without_engines_no_tensorrt_is_looked_for(machine):
    machine.install(FULL)
    machine.load().close()
    assert not machine.asked


RUN = """
import sys
from nanoseg.backends import device
from nanoseg.cli import main
from nanoseg.store import Device

device.look_for_device = lambda *_: (Device("NVIDIA GeForce RTX 4090", (8, 9), "11.4.0"), "")
device.look_for_gpu = lambda: device.GpuHere(("NVIDIA GeForce RTX 4090", (8, 9)), "", driver=True)
main()
"""


def test_a_shell_sees_it_and_what_is_for_machines_stays_so(machine):
    older_tensorrt(machine)
    words = ["run", "parts://?seed=1&size=64x48&objects=1", "--limit", "1", "--json", "--bundle", str(machine.path)]
    command = [sys.executable, "-c", RUN, *words, "--engines", str(machine.engines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["backend"] == "onnxruntime"
    (line,) = done.stderr.splitlines()
    assert "built by TensorRT 11.3.0, here is TensorRT 11.4.0; build it here: nanoseg build --bundle " in line


# --- ONNX Runtime's CUDA provider, which auto tries first ---


@pytest.mark.parametrize("driver", [True, False])
@pytest.mark.parametrize("starts", [True, False])
def test_auto_says_why_it_leaves_the_cuda_provider(starts, driver, machine, caplog, monkeypatch):
    """Without cuDNN, say; a machine without a driver misses nothing."""
    if starts:
        FakeOrtGpu().install(monkeypatch)
    else:
        FakeOrtGpu(starts=["CPUExecutionProvider"]).install(monkeypatch)
    if not driver:
        no_driver(monkeypatch)
    with nanoseg.load(machine.path) as segmenter:
        assert segmenter.backend == ("onnxruntime-cuda" if starts else "onnxruntime")
    why = "onnxruntime-cuda: ONNX Runtime found no GPU it can use; backend onnxruntime needs none"
    line = f"tiny: runs on onnxruntime, not on its CUDA provider: {why}"
    assert told(caplog) == ([line] if driver and not starts else [])


# --- without ONNX Runtime ---

PIP_LINE = 'onnxruntime is not installed: pip install "nanoseg[cpu]"'


@pytest.fixture
def no_onnxruntime(monkeypatch):
    """As on a Jetson that has JetPack's TensorRT alone."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("engine", "gpu"):
        monkeypatch.delitem(sys.modules, f"nanoseg.backends.ort.{name}", raising=False)
        monkeypatch.delattr(nanoseg.backends.ort, name, raising=False)


@pytest.mark.parametrize(
    ("build", "why"), [*LEFT, (lambda machine: None, f"{FULL.folder}/prepare.engine: not built; build it here: nanos")]
)
def test_without_onnxruntime_both_ways_out_are_told(build, why, machine, caplog, no_onnxruntime):
    machine.install(FULL)
    build(machine)
    with pytest.raises(DependencyError) as error:
        machine.load()
    reason, _, pip_line = str(error.value).partition("; to run without engines: ")
    assert f"/{why}" in reason
    assert "; build it here: nanoseg build --bundle " in reason
    assert pip_line == PIP_LINE
    assert "\n" not in str(error.value)
    assert not told(caplog)


def test_without_onnxruntime_and_a_gpu_that_starts(machine, no_onnxruntime):
    machine.install(FULL)
    machine.cuda.fails["cuInit"] = "NO_DEVICE"
    with pytest.raises(DependencyError) as error:
        machine.load()
    why = "tensorrt: no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE"
    assert str(error.value) == f"{why}; to run without engines: {PIP_LINE}"


@pytest.mark.parametrize("build", [lambda machine: None, lambda machine: machine.put(ELSEWHERE)])
def test_without_onnxruntime_and_tensorrt(build, machine, no_onnxruntime):
    build(machine)
    with pytest.raises(DependencyError) as error:
        machine.load()
    assert str(error.value) == PIP_LINE


def test_without_onnxruntime_and_tensorrt_but_with_engines_of_this_gpu(machine, no_onnxruntime):
    machine.put(FULL)
    with pytest.raises(DependencyError) as error:
        machine.load()
    why = f"tensorrt: {NO_TENSORRT}; {info_line(machine)} tells of each engine"
    assert str(error.value) == f"{why}; to run without engines: {PIP_LINE}"


def test_without_onnxruntime_and_a_driver(machine, no_onnxruntime, monkeypatch):
    machine.install(FULL)
    machine.put(FULL)
    no_driver(monkeypatch)
    with pytest.raises(DependencyError) as error:
        machine.load()
    assert str(error.value) == PIP_LINE


def test_engines_want_no_onnxruntime(machine, no_onnxruntime):
    machine.install(FULL)
    machine.put(FULL)
    with machine.load() as segmenter:
        assert (segmenter.backend, len(segmenter(IMAGE)) > 3) == ("tensorrt", True)


# --- what is loaded ---


@pytest.mark.parametrize("name", ["auto", "tensorrt"])
def test_each_engine_is_read_once(name, machine, monkeypatch):
    machine.install(FULL, RTX)
    machine.put(FULL)
    opened, really = Counter(), io.open

    def count(file, *given, **named):
        opened[Path(file).name] += isinstance(file, Path) and file.suffix == ".engine"
        return really(file, *given, **named)

    monkeypatch.setattr(io, "open", count)
    machine.load(name).close()
    assert +opened == {f"{graph}.engine": 1 for graph in GRAPHS}


@pytest.mark.parametrize("damage", [alter, Path.unlink])
def test_a_file_that_changes_after_all_were_checked_is_refused(damage, machine, monkeypatch):
    machine.install(FULL)
    machine.put(FULL)
    really = Store.check

    def check(store, bundle, name, device):
        path = really(store, bundle, name, device)
        if name == GRAPHS[-1]:
            damage(path.with_name("detect.engine"))
        return path

    monkeypatch.setattr(Store, "check", check)
    with pytest.raises(EngineError, match=r"detect\.engine: (altered since it was built|the file is missing).*; build"):
        machine.load("tensorrt")
    assert not machine.cuda.alive


def test_a_graph_without_an_engine_is_told_before_any_is_loaded(machine):
    machine.install(FULL)
    machine.put(FULL, GRAPHS[:3])
    with pytest.raises(EngineError, match=r"segment\.engine: not built"):
        machine.load("tensorrt")
    assert not sys.modules["tensorrt"].fake.calls
    assert not machine.cuda.allocations


@pytest.mark.parametrize("what", ["memory", "engine", "context"])
def test_what_cannot_be_opened_leaves_nothing(on, what):
    with on() as run:
        if what == "memory":
            run.cuda.fails["cuMemAlloc"] = "OUT_OF_MEMORY"
        else:
            function = {"engine": "deserialize_cuda_engine", "context": "create_execution_context"}[what]
            run.trt.fails[function] = "Error Code 2: OutOfMemory"
        # Valid engines that cannot run are no reason to go on without, in auto neither.
        for name in ("tensorrt", "auto"):
            with pytest.raises(EngineError) as error:
                nanoseg.load(run.bundle, name, engines=run.engines)
            assert "\n" not in str(error.value)
            assert str(error.value).endswith("; --backend onnxruntime runs the bundle without") == (name == "auto")
        run.cuda.fails.clear()
        run.trt.fails.clear()
        del error
        gc.collect()
        assert not run.cuda.alive
        with run.load(confidence=0.2) as segmenter:
            assert len(segmenter(IMAGE)) > 3
