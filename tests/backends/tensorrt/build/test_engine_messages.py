"""One graph -> one engine: what TensorRT is message, and what a user is message."""

import pytest

from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.engines import Profile
from nanoseg.errors import EngineError
from tests.backends.tensorrt.build.one_graph import CANNOT, RECIPE, build, recipe, refused
from tests.fakes.tensorrt_builder import (
    BuilderFlag,
    MemoryPoolType,
    ParserError,
    RtxBuilderFlag,
    Script,
    Tensor,
    fake_builder,
)


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, {BuilderFlag.TF32}),
        ({"tf32": False}, set()),
        ({"version_compatible": True}, {BuilderFlag.TF32, BuilderFlag.VERSION_COMPATIBLE}),
    ],
)
def test_build_engine_applies_the_recipe(changes, flags):
    script = Script()
    built = build(script, recipe(workspace_mb=192, optimization_level=5, **changes))
    config = script.configs[0]
    assert (config.flags, config.pools) == (flags, {MemoryPoolType.WORKSPACE: 192 << 20})
    assert config.builder_optimization_level == 5
    assert config.max_aux_streams == 0
    assert script.network_flags == [0b10]  # strongly typed, and nothing else
    assert script.graphs == [b"graph"]
    assert (built.plan, built.profiles, built.device_memory_bytes) == (b"plan", {}, None)
    assert built.seconds > 0
    assert config.profiles == []


def test_build_engine_rtx_requires_user_allocation():
    script = Script()
    build_engine(fake_builder(script, "1.7.1", "tensorrt_rtx"), b"graph", RECIPE, name="x.onnx")
    assert script.configs[0].flags == {RtxBuilderFlag.TF32, RtxBuilderFlag.REQUIRE_USER_ALLOCATION}


def test_build_engine_profiles():
    script = Script((Tensor("a", (1, "n", 3, "w")), Tensor("b", (2, 4)), Tensor("c", ("n",))))
    built = build(script)
    assert built.profiles == {
        "a": Profile([1, 1, 3, 2], [1, 4, 3, 3], [1, 8, 3, 5]),
        "c": Profile([1], [4], [8]),
    }
    assert [profile.shapes for profile in script.configs[0].profiles] == [
        {"a": ([1, 1, 3, 2], [1, 4, 3, 3], [1, 8, 3, 5]), "c": ([1], [4], [8])}
    ]


@pytest.mark.parametrize(
    ("side", "message", "table"), [("batch", "(batch)", "batch"), ("", "(without a name)", "NAME")]
)
def test_build_engine_dimension_without_range(side, message, table):
    assert refused(Script((Tensor("a", (1, side)),))) == (
        f"x.onnx: 'a': dimension 1 is dynamic {message}, and recipes/x.toml gives no range; "
        f"add [dimensions.{table}] with min, opt and max"
    )


FREE = "end the desktop (sudo init 3) and what else runs, or add swap"


@pytest.mark.parametrize(
    ("errors", "message"),
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
def test_build_engine_parser_errors(errors, message):
    assert refused(Script(parser_errors=tuple(errors))) == f"{CANNOT} read it: {message}"


@pytest.mark.parametrize(
    ("says", "message"),
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
def test_build_engine_without_result(says, message):
    assert refused(Script(plan=None, says=(says,))) == f"{CANNOT} build it: {message}"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("std::bad_alloc"), "out of memory: MemoryError: std::bad_alloc; end the desktop"),
        (RuntimeError("unknown exception"), "RuntimeError: unknown exception"),
    ],
)
def test_build_engine_exceptions(error, message):
    assert refused(Script(raises=error)).startswith(f"{CANNOT} build it: {message}")


def test_build_engine_smallest_workspace_advice():
    assert refused(Script(plan=None, says=("out of memory",)), recipe(workspace_mb=1)).endswith("--workspace 1")


def test_build_engine_missing_file(tmp_path):
    with pytest.raises(EngineError, match=r"gone\.onnx: cannot be read: No such file"):
        build_engine(fake_builder(), tmp_path / "gone.onnx", RECIPE)


def test_build_engine_rtx_not_version_compatible():
    with pytest.raises(EngineError, match=r"x\.toml: version_compatible: TensorRT for RTX 1\.7 has no such engines"):
        build_engine(
            fake_builder(version="1.7", name="tensorrt_rtx"), b"", recipe(version_compatible=True), name="x.onnx"
        )


@pytest.mark.parametrize("compatible", [False, True])
def test_build_engine_loads_for_memory(compatible):
    script = Script(memory=123)
    assert build(script, recipe(version_compatible=compatible), load=True).device_memory_bytes == 123
    assert [runtime.engine_host_code_allowed for runtime in script.runtimes] == [compatible]


def test_build_engine_that_does_not_load():
    assert refused(Script(loads=False), load=True) == "x.onnx: built, but it does not load here: magic tag is wrong"
