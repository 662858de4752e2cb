"""One graph -> one engine: what TensorRT is told, what a user is told, and that a build can be stopped."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nanoseg.backends.trt_build import build as module
from nanoseg.backends.trt_build import progress as build_progress
from nanoseg.backends.trt_build.build import build_engine
from nanoseg.backends.trt_build.progress import Phases
from nanoseg.errors import EngineError
from nanoseg.recipes import Range, Recipe, read_recipe
from nanoseg.store import Profile
from tests.fake_builder import BuilderFlag, MemoryPoolType, ParserError, Script, Tensor, fake_builder

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Recipe(
    "x.toml", Path("recipes/x.toml"), "int8", 64, True, 3, False, {"n": Range(1, 4, 8), "w": Range(2, 3, 5)}
)


def recipe(**changes):
    return dataclasses.replace(RECIPE, **changes)


def build(script, made=RECIPE, **options):
    return build_engine(fake_builder(script), b"graph", made, name="x.onnx", **options)


def refused(script, made=RECIPE, **options):
    with pytest.raises(EngineError) as error:
        build(script, made, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- what TensorRT is told ---


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, {BuilderFlag.TF32}),
        ({"tf32": False}, set()),
        ({"version_compatible": True}, {BuilderFlag.TF32, BuilderFlag.VERSION_COMPATIBLE}),
    ],
)
def test_a_recipe_reaches_the_builder(changes, flags):
    script = Script()
    built = build(script, recipe(workspace_mb=192, optimization_level=5, **changes))
    config = script.configs[0]
    assert (config.flags, config.pools) == (flags, {MemoryPoolType.WORKSPACE: 192 << 20})
    assert config.builder_optimization_level == 5
    assert script.network_flags == [0b10]  # strongly typed, and nothing else
    assert script.graphs == [b"graph"]
    assert (built.plan, built.profiles, built.device_memory_bytes) == (b"plan", {}, None)
    assert built.seconds > 0
    assert config.profiles == []


def test_sides_that_vary_get_the_recipes_range():
    script = Script((Tensor("a", (1, "n", 3, "w")), Tensor("b", (2, 4)), Tensor("c", ("n",))))
    built = build(script)
    assert built.profiles == {
        "a": Profile([1, 1, 3, 2], [1, 4, 3, 3], [1, 8, 3, 5]),
        "c": Profile([1], [4], [8]),
    }
    assert [profile.shapes for profile in script.configs[0].profiles] == [
        {"a": ([1, 1, 3, 2], [1, 4, 3, 3], [1, 8, 3, 5]), "c": ([1], [4], [8])}
    ]


@pytest.mark.parametrize(("side", "told", "table"), [("batch", "(batch)", "batch"), ("", "(without a name)", "NAME")])
def test_a_side_that_the_recipe_does_not_know(side, told, table):
    assert refused(Script((Tensor("a", (1, side)),))) == (
        f"x.onnx: 'a': side 1 varies {told}, and recipes/x.toml does not say how much; "
        f"add [dimensions.{table}] with min, opt and max"
    )


# --- what a user is told ---

FREE = "end the desktop (sudo init 3) and what else runs, or add swap"
CANNOT = "x.onnx: TensorRT 10.3.0 cannot"


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (
            [ParserError("no such\nplugin", "mask_head/NonZero", "NonZero")],
            "node mask_head/NonZero (NonZero): no such plugin; export the network without it",
        ),
        (
            [ParserError("first", "", "Frob"), ParserError("second", "other", "Add")],
            "node 7 (Frob): first (and 1 more); export the network without it",
        ),
        ([ParserError("no protobuf")], "no protobuf; is the file whole? Fetch or make the bundle anew"),
    ],
)
def test_what_the_parser_cannot_read(errors, told):
    assert refused(Script(parser_errors=tuple(errors))) == f"{CANNOT} read it: {told}"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (
            "Error Code 1: Cuda Runtime (out of memory)",
            f"out of memory: Error Code 1: Cuda Runtime (out of memory); {FREE}, or take less: --workspace 32",
        ),
        (
            "Requested amount of GPU memory (9 bytes) could not be allocated.",
            "out of memory: Requested amount of GPU memory (9 bytes) could not be allocated.; "
            f"{FREE}, or take less: --workspace 32",
        ),
        (
            "Internal Error (Could not find any implementation for node conv1.)",
            "Internal Error (Could not find any implementation for node conv1.); a workspace of 64 MB is "
            f"too little, so try --workspace 128; or memory ran out: {FREE}",
        ),
        ("an\nassertion   failed", "an assertion failed"),
        ("", "it does not say why"),
    ],
)
def test_a_builder_that_gives_nothing(says, told):
    assert refused(Script(plan=None, says=(says,))) == f"{CANNOT} build it: {told}"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("std::bad_alloc"), "out of memory: MemoryError: std::bad_alloc; end the desktop"),
        (RuntimeError("unknown exception"), "RuntimeError: unknown exception"),
    ],
)
def test_a_builder_that_raises(error, told):
    assert refused(Script(raises=error)).startswith(f"{CANNOT} build it: {told}")


def test_the_least_workspace_has_no_half():
    assert refused(Script(plan=None, says=("out of memory",)), recipe(workspace_mb=1)).endswith("--workspace 1")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(EngineError, match=r"gone\.onnx: cannot be read: No such file"):
        build_engine(fake_builder(), tmp_path / "gone.onnx", RECIPE)


def test_tensorrt_for_rtx_has_no_version_compatible_engines():
    with pytest.raises(EngineError, match=r"x\.toml: version_compatible: TensorRT for RTX 1\.7 has no such engines"):
        build_engine(
            fake_builder(version="1.7", name="tensorrt_rtx"), b"", recipe(version_compatible=True), name="x.onnx"
        )


# --- loading it once ---


@pytest.mark.parametrize("compatible", [False, True])
def test_an_engine_is_loaded_and_tells_its_memory(compatible):
    script = Script(memory=123)
    assert build(script, recipe(version_compatible=compatible), load=True).device_memory_bytes == 123
    assert [runtime.engine_host_code_allowed for runtime in script.runtimes] == [compatible]


def test_an_engine_that_does_not_load():
    assert refused(Script(loads=False), load=True) == "x.onnx: built, but it does not load here: magic tag is wrong"


# --- progress, and the end before the end ---


def test_progress_is_reported():
    told = []
    build(Script(steps=4), report=lambda done, doing: told.append((done, doing)))
    assert told[0] == (0.0, "Reading the graph")
    assert [done for done, _ in told[1:]] == [0, 0.25, 0.5, 0.75, 1.0]
    assert {doing for _, doing in told[1:]} == {"Building engine"}


def test_a_report_that_fails_ends_the_build():
    steps = []

    def report(done, doing):
        if done:
            raise BrokenPipeError("nobody looks")

    with pytest.raises(BrokenPipeError):
        build(Script(steps=9, at_step=steps.append), report=report)
    assert steps == [0]


def test_ctrl_c_ends_the_build_at_the_next_step(tmp_path):
    before, steps, told = signal.getsignal(signal.SIGINT), [], []
    heard = threading.Event()

    def report(done, doing):
        told.append(doing)
        if doing.startswith("stopping"):
            heard.set()

    def step(number):
        steps.append(number)
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.wait(60)

    with pytest.raises(KeyboardInterrupt):
        build(Script(steps=9, at_step=step), report=report, timing_cache=tmp_path / "cache")
    assert steps == [0, 1]
    assert told[-1] == "stopping; Ctrl-C again kills"
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "cache").read_bytes() == b"+"  # what was measured until then serves the next build


def interrupt_and(then):
    """What sends Ctrl-C from within TensorRT, and goes on when it was heard."""

    def call(*_):
        os.kill(os.getpid(), signal.SIGINT)
        until = time.monotonic() + 60
        while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL and time.monotonic() < until:
            time.sleep(0.01)
        return then()

    return call


def fail():
    raise RuntimeError("the build was cancelled")


@pytest.mark.parametrize(
    ("script", "load"),
    [
        (Script(steps=1, at_step=interrupt_and(fail)), False),
        (Script(at_load=interrupt_and(lambda: None)), True),
        (Script(loads=False, at_load=interrupt_and(lambda: None)), True),
    ],
    ids=["a builder that raises then", "while it is loaded", "while it does not load"],
)
def test_ctrl_c_is_an_interruption_whatever_else_happens(script, load):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(script, load=load)
    assert signal.getsignal(signal.SIGINT) is before


def test_with_sigint_ignored_a_build_goes_on():
    """As a shell starts what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert build(Script(at_step=lambda _: os.kill(os.getpid(), signal.SIGINT))).plan == b"plan"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


STUCK = """
import os, signal, sys, time
from pathlib import Path
from nanoseg.backends.trt_build.build import build_engine
from tests.fake_builder import Script, fake_builder
from tests.test_build import RECIPE
def hang(step):
    print("building", flush=True)
    time.sleep(60)
build_engine(fake_builder(Script(at_step=hang)), b"", RECIPE, report=lambda _, doing: print(doing, flush=True))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_second_ctrl_c_kills_a_build_that_is_stuck():
    with subprocess.Popen([sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "building\n" or line.startswith("stopping"):
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT


def test_in_another_thread_a_build_leaves_ctrl_c_alone():
    built = []
    thread = threading.Thread(target=lambda: built.append(build(Script())))
    thread.start()
    thread.join(60)
    assert built[0].plan == b"plan"


def test_several_threads_of_tensorrt_may_tell_of_their_progress(monkeypatch):
    """NVIDIA wants an IProgressMonitor to be thread-safe."""
    inside, most = [], []

    class Watched(Phases):
        def __getattribute__(self, name):
            if name in ("start", "step", "finish", "fraction"):
                inside.append(name)
                time.sleep(0.001)
                most.append(len(inside))
                inside.remove(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(build_progress, "Phases", Watched)
    monitor = build_progress.progress_monitor(fake_builder(), lambda _, __: None, threading.Event())

    def work(name):
        monitor.phase_start(name, None, 5)
        for step in range(5):
            assert monitor.step_complete(name, step)
        monitor.phase_finish(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert len(most) == 4 * (2 + 5 * 2 + 1)
    assert set(most) == {1}
    assert monitor.failed is None


def nested(rng, phases, name, parent, told):
    """A tree of phases, as TensorRT tells of them; some have no children, some end before their last step."""
    steps = int(rng.integers(0, 5))
    phases.start(name, parent, steps)
    told.append(phases.fraction)
    for step in range(int(rng.integers(0, steps + 1))):
        if len(name) < 4 and rng.random() < 0.6:
            nested(rng, phases, f"{name}{step}", name, told)
        phases.step(name, step)
        told.append(phases.fraction)
    phases.finish(name)
    told.append(phases.fraction)


@pytest.mark.parametrize("seed", range(20))
def test_progress_never_falls_and_stays_within_the_whole(seed):
    told = []
    nested(np.random.default_rng(seed), Phases(), "", None, told)
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1


def test_a_step_of_a_phase_counts_within_its_parents_step():
    phases = Phases()
    phases.start("all", None, 4)
    phases.step("all", 0)
    phases.start("inner", "all", 2)
    phases.step("inner", 0)
    assert phases.fraction == (1 + 1 / 2) / 4
    phases.finish("inner")
    phases.step("all", 1)
    assert phases.fraction == 2 / 4


# --- what TensorRT measured ---


@pytest.mark.parametrize(
    ("stored", "kept"),
    [(None, b"+"), (b"measured", b"measured+"), (b"damaged", b"+"), (b"another device", b"+"), (b"", b"+")],
)
def test_the_timing_cache_is_read_and_written(stored, kept, tmp_path):
    path = tmp_path / "timing.cache"
    if stored is not None:
        path.write_bytes(stored)
    build(Script(), timing_cache=path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


def test_a_build_that_fails_leaves_the_timing_cache_alone(tmp_path):
    (tmp_path / "cache").write_bytes(b"measured")
    refused(Script(plan=None), timing_cache=tmp_path / "cache")
    assert (tmp_path / "cache").read_bytes() == b"measured"


def test_a_damaged_timing_cache_is_not_why_a_build_fails(tmp_path):
    (tmp_path / "cache").write_bytes(b"damaged")
    told = refused(Script(plan=None, says=("no kernel",)), timing_cache=tmp_path / "cache")
    assert told == f"{CANNOT} build it: no kernel"


def test_a_timing_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    assert build(Script(), timing_cache=tmp_path / "cache").plan == b"plan"
    assert list(tmp_path.iterdir()) == []


# --- TensorRT itself ---


@pytest.fixture(scope="module")
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")


@pytest.fixture(scope="module")
def prepare():
    return (ROOT / "nanoseg" / "bundles" / "parts" / "prepare.onnx").read_bytes()


def test_a_real_engine(rtx, prepare):
    told = []
    built = build_engine(rtx, prepare, read_recipe("prepare"), report=lambda done, _: told.append(done))
    assert len(built.plan) > 100_000
    assert built.profiles == {"frame": Profile([1, 120, 160, 3], [1, 720, 1280, 3], [1, 2160, 3840, 3])}
    assert told[-1] > 0.5


def test_a_real_build_can_be_stopped(rtx, prepare):
    asked = []

    def report(done, doing):
        if done and not asked:
            asked.append(doing)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_engine(rtx, prepare, read_recipe("prepare"), report=report)
    assert asked


def model(*nodes, **inputs):
    helper = pytest.importorskip("onnx", reason="needs nanoseg[bundle]").helper
    values = [helper.make_tensor_value_info(name, kind, (1, 4, 4)) for name, kind in inputs.items()]
    made = [helper.make_node(op, ins, [out], name=f"my_{op}") for op, ins, out in nodes]
    out = helper.make_tensor_value_info("out", 1, None)
    graph = helper.make_graph(made, "g", values, [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (lambda whole: whole[: len(whole) // 2], "cannot read it: .*is the file whole"),
        (lambda _: b"nonsense", "cannot read it: .*is the file whole"),
        (lambda _: b"", "cannot build it: .*must have at least one output"),
        (lambda _: model(("Frob", ["a"], "out"), a=1), r"cannot read it: node my_Frob \(Frob\): .*Plugin not found"),
        (
            lambda _: model(("Relu", ["a"], "x"), ("Add", ["x", "b"], "out"), a=1, b=10),
            r"cannot read it: node my_Add \(Add\): .*must have same input types",
        ),
        # What it reads and has no kernel for is told by the builder, in TensorRT's words.
        (
            lambda _: model(("NonMaxSuppression", ["a", "b"], "out"), a=1, b=1),
            "cannot build it: .*my_NonMaxSuppression.* has no runners",
        ),
    ],
)
def test_what_a_real_tensorrt_refuses(rtx, prepare, graph, told):
    with pytest.raises(EngineError, match=rf"^x\.onnx: TensorRT for RTX [\d.]+ {told}") as error:
        build_engine(rtx, graph(prepare), RECIPE, name="x.onnx")
    assert len(str(error.value)) < 500


def test_a_real_workspace_that_is_too_little(rtx, prepare):
    little = dataclasses.replace(read_recipe("prepare"), workspace_mb=2)
    with pytest.raises(EngineError, match="a workspace of 2 MB is too little, so try --workspace 4; or memory ran out"):
        build_engine(rtx, prepare, little)
