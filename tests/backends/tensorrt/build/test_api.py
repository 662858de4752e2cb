"""Everything that our code touches of TensorRT stands in each version that it must run on."""

import ast
import sys
from collections.abc import Collection

import pytest

from nanoseg.backends import probe
from nanoseg.backends.tensorrt import plan as trt
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.int8_conv_graph import int8_conv_graph
from nanoseg.backends.tensorrt.log import make_logger
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError
from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
from tests.fakes import tensorrt as fake
from tests.fakes.recording_tensorrt import MODULE, Used, absent, read_api, recording
from tests.helpers.paths import ROOT

VERSIONS = ("10.3", "10.13", "11.4")  # JetPack 6.2, 7.0 and what 7.2.2 can install
RTX = "rtx-1.7"
BACKENDS = ROOT / "nanoseg" / "backends"
# What our code calls a TensorRT module, and what it calls the objects that it gets from one.
MODULES = ("api", "library")
OBJECTS = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "engine": "ICudaEngine",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "settings": "IRuntimeConfig",
}
# A convolution that no TensorRT knows.
UNKNOWN = int8_conv_graph().replace(b"\x22\x04Conv", b"\x22\x04Vonc")


@pytest.fixture(scope="module")
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")


@pytest.fixture
def used() -> Used:
    return set()


def lacking(used: Used) -> dict[str, list[str]]:
    """What of it a version does not have, by version."""
    return {version: result for version in VERSIONS if (result := absent(used, read_api(version)))}


def test_api_list_matches_installed_library(rtx):
    """The lists of the others were made the same way."""
    if not rtx.__version__.startswith("1.7."):
        pytest.skip(f"the list is of TensorRT for RTX 1.7, here is {rtx.__version__}")
    here = {name: value for name, value in vars(rtx).items() if isinstance(value, type) and not name.startswith("_")}
    listed = read_api("rtx-1.7")
    assert {name: {each for each in dir(value) if not each.startswith("_")} for name, value in here.items()} == {
        name: members for name, members in listed.items() if name != MODULE
    }
    assert here.keys() <= listed[MODULE]


def test_api_of_builds_int8_weights(rtx, used, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", recording(rtx, used))
    assert probe.builds_int8_weights("tensorrt")["builds"]
    assert lacking(used) == {}
    assert used >= {
        (MODULE, "OnnxParser"),
        ("Builder", "build_serialized_network"),
        ("IBuilderConfig", "set_memory_pool_limit"),
        ("ILogger", "log"),  # what a subclass overrides
        ("MemoryPoolType", "WORKSPACE"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("OnnxParser", "parse"),
    }


def test_api_of_a_refused_graph(rtx, used, monkeypatch):
    monkeypatch.setattr(probe, "int8_conv_graph", lambda: UNKNOWN)
    monkeypatch.setitem(sys.modules, "tensorrt", recording(rtx, used))
    result = probe.builds_int8_weights("tensorrt")
    assert not result["builds"]
    assert "Vonc" in result["why"]
    assert lacking(used) == {}
    assert used >= {("OnnxParser", "num_errors"), ("OnnxParser", "get_error"), ("ParserError", "desc")}


def test_api_of_describe_plan(used, monkeypatch):
    """By the fake: without a GPU no engine can be loaded."""
    tensors = {
        "image": (fake.TensorIOMode.INPUT, fake.DataType.HALF, (1, 3, -1, -1)),
        "masks": (fake.TensorIOMode.OUTPUT, fake.DataType.FLOAT, (4, 256)),
    }
    monkeypatch.setitem(sys.modules, "tensorrt", recording(fake.fake_tensorrt({b"plan": tensors}), used))
    result = trt.describe_plan(b"plan")
    assert [(each.name, each.dtype, each.shape, each.is_input) for each in result.tensors] == [
        ("image", "float16", (1, 3, None, None), True),
        ("masks", "float32", (4, 256), False),
    ]
    assert lacking(used) == {}
    assert used >= {
        ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "num_io_tensors"),
        ("ICudaEngine", "get_tensor_shape"),
        ("TensorIOMode", "INPUT"),
    }


def test_api_of_the_logger(rtx, used):
    api = recording(rtx, used)
    messages: list[str] = []
    log = make_logger(api, messages)
    for severity in (api.ILogger.WARNING, api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR):
        log.log(severity, severity.name)
    assert messages == ["ERROR", "INTERNAL_ERROR"]
    assert used >= {("ILogger", "ERROR"), ("ILogger", "INTERNAL_ERROR"), ("ILogger", "log")}
    assert lacking(used) == {}


BUILDS = {
    "fixed shapes": ("detect", int8_conv_graph, {("IBuilderConfig", "builder_optimization_level")}),
    "shapes that vary": (
        "prepare",
        lambda: prepare_graph(64, 60, 64).SerializeToString(),
        {("ITensor", "get_dimension_name"), ("IOptimizationProfile", "set_shape")},
    ),
}


@pytest.mark.parametrize("what", BUILDS)
def test_api_of_build_engine(what, rtx, used, tmp_path):
    recipe, graph, wanted = BUILDS[what]
    built = build_engine(recording(rtx, used), graph(), read_recipe(recipe), timing_cache=tmp_path / "timing.cache")
    assert len(built.plan) > 1000
    assert lacking(used) == {}
    assert used >= wanted | {
        ("Builder", "build_serialized_network"),
        ("BuilderFlag", "TF32"),
        ("IBuilderConfig", "progress_monitor"),
        ("IProgressMonitor", "phase_finish"),  # what a subclass overrides
        ("IProgressMonitor", "step_complete"),
        ("MemoryPoolType", "WORKSPACE"),
    }


def test_api_of_a_parser_error(rtx, used):
    with pytest.raises(EngineError, match="Vonc"):
        build_engine(recording(rtx, used), UNKNOWN, read_recipe("detect"))
    assert lacking(used) == {}
    assert used >= {("ParserError", "node_name"), ("ParserError", "node_operator"), ("ParserError", "desc")}


def test_api_of_loading(used, rtx):
    """As far as it comes: without a GPU, or on one that the engine is not for."""
    why = ""
    try:
        build_engine(recording(rtx, used), int8_conv_graph(), read_recipe("detect"), load=True)
    except EngineError as error:
        why = str(error)
    assert not why or "does not load here" in why
    assert lacking(used) == {}
    assert (MODULE, "Runtime") in used


def _made_up(api, builder, config):
    with pytest.raises(AttributeError, match="build_cuda_engine"):
        _ = builder.build_cuda_engine


def _only_in_some(api, builder, config):
    config.max_num_tactics = 1


def _not_in_the_first(api, builder, config):
    config.set_flag(api.BuilderFlag.MONITOR_MEMORY)


def _gone_by_the_last(api, builder, config):
    with pytest.raises(AttributeError, match="FP16"):
        config.set_flag(api.BuilderFlag.FP16)


def _overridden(api, builder, config):
    class Monitor(api.IProgressMonitor):
        def phase_start(self, phase_name, parent_phase, num_steps):
            pass

    class Later(api.IStreamWriter):
        def write(self, data):
            pass


WRONG = {
    _made_up: ({"Builder.build_cuda_engine"}, set(VERSIONS)),
    _only_in_some: ({"IBuilderConfig.max_num_tactics"}, {"10.3"}),
    _not_in_the_first: ({"BuilderFlag.MONITOR_MEMORY"}, {"10.3"}),
    _gone_by_the_last: ({"BuilderFlag.FP16"}, {"11.4"}),
    _overridden: ({"IStreamWriter.write", "tensorrt.IStreamWriter"}, {"10.3"}),
}


@pytest.mark.parametrize("touch", WRONG, ids=lambda touch: touch.__name__.strip("_"))
def test_api_absent_names_are_found(touch, rtx, used):
    """So that the tests above can fail."""
    api = recording(rtx, used)
    builder = api.Builder(make_logger(api, []))
    touch(api, builder, builder.create_builder_config())
    wanted, versions = WRONG[touch]
    for version in VERSIONS:
        assert set(absent(used, read_api(version))) == (wanted if version in versions else set())


def chains(source: str, roots: Collection[str]) -> set[tuple[str, ...]]:
    """What is read off these names in some code: of `job.api.A.B` and `getattr(api.A, "B")` it is (api, A, B)."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        chain = _chain(node)
        start = next((place for place, name in enumerate(chain) if name in roots), len(chain))
        if len(chain) > start + 1:
            found.add(chain[start : start + 3])
    return found


def _chain(node: ast.AST) -> tuple[str, ...]:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=inner, attr=name):
            return (*before, name) if (before := _chain(inner)) else ()
        case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[inner, ast.Constant(value=str(name)), *_]):
            return (*before, name) if (before := _chain(inner)) else ()
    return ()


def test_chains():
    source = "api.A; api.B.c.d; getattr(job.api.E, 'f', None); other.G; api.H(1).i; [x for x in api.J.k()]; api"
    wanted = ["A", "B", "B.c", "E", "E.f", "H", "J", "J.k"]
    assert chains(source, MODULES) == {("api", *name.split(".")) for name in wanted}


@pytest.mark.parametrize("version", [*VERSIONS, RTX])
def test_api_of_every_name_in_the_source(version):
    """Those on ways that no test here goes, too, by what our code calls its variables."""
    api = read_api(version)
    used = set()
    for path in BACKENDS.rglob("*.py"):
        if path.name in ("rtx.py", "layer_list.py") and version != RTX:
            continue
        source = path.read_text(encoding="utf-8")
        # What begins small is read off a module of CUDA.
        of_modules = {chain for chain in chains(source, MODULES) if chain[1][0].isupper()}
        if not of_modules:
            continue  # nor is a cache there one of TensorRT's
        used |= {(MODULE, name) for _, name, *_ in of_modules}
        used |= {(owner, member) for _, owner, *members in of_modules for member in members}
        used |= {(OBJECTS[name], member) for name, member, *_ in chains(source, OBJECTS)}
    used = {(owner, member) for owner, member in used if not member.startswith("_")}
    assert used >= {
        ("BuilderFlag", "VERSION_COMPATIBLE"),
        ("ICudaEngine", "device_memory_size_v2"),
        ("IBuilderConfig", "set_memory_pool_limit"),
        ("Runtime", "engine_host_code_allowed"),
    }
    if version == RTX:
        assert used >= {("BuilderFlag", "REQUIRE_USER_ALLOCATION"), ("IRuntimeConfig", "set_runtime_cache")}
    assert absent(used, api) == []


def test_api_of_the_fake():
    """tests/fakes/tensorrt.py is all that other tests know of TensorRT."""
    module = fake.fake_tensorrt({})
    kinds = {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}
    used = {(name, member) for name, kind in kinds.items() for member in vars(kind) if not member.startswith("_")}
    assert used > {("Runtime", "deserialize_cuda_engine"), ("DataType", "HALF")}
    assert lacking(used | {(MODULE, name) for name in kinds}) == {}
