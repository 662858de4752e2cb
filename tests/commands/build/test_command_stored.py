"""`nanoseg build`: what is built and kept with its record, and what is left alone."""

import re
import types

import pytest

from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import Device, EngineStore
from nanoseg.errors import EngineError
from tests.commands.build.fake_builders import INPUTS, NAMES, built, fake_builder_for, lines
from tests.fakes.tensorrt_builder import Script, fake_builder
from tests.helpers.engine_records import ORIN, RTX, record
from tests.helpers.paths import ROOT


def test_build_stores_every_engine_with_its_record(engines, bundle, capfd):
    builder = fake_builder_for(Script(plan=b"an engine", memory=2_500_000))
    assert build(BuildOptions(engines=engines), builder) == 0
    store = EngineStore(engines)
    folder = store.folder("parts", ORIN)
    printed = lines(capfd)
    assert printed[:2] == [f"parts {bundle.version}: engines for {ORIN}", f"  folder         {folder}"]
    assert [line.split()[0] for line in printed[2:7]] == NAMES
    for name, line in zip(NAMES, printed[7:12], strict=True):
        assert re.fullmatch(rf"  {name} built in \d+\.\d s: 0\.0 MB, 2\.5 MB of activation memory", line)
    assert re.fullmatch(r"5 engines built in \d+\.\d s", printed[12])
    for name in NAMES:
        assert store.check(bundle, name, ORIN).read_bytes() == b"an engine"
        records = store.best_states(bundle, ORIN)[name].record
        assert records == record(
            name,
            b"an engine",
            graph_sha256=bundle.graphs[name].built.sha256,
            precision=bundle.graphs[name].precision,
            recipe=records.recipe,
            profiles={},
            workspace_mb=256 if name.startswith("segment") else 512,
            build_seconds=records.build_seconds,
            built_at=records.built_at,
            device_memory_bytes=2_500_000,
        )
        assert records.recipe.name == f"{name}.toml"
    assert builder.api.script.graphs == [bundle.graphs[name].built.path.read_bytes() for name in NAMES]
    assert sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock")) == sorted(
        [*(f"{name}.engine" for name in NAMES), "engines.json", "timing.cache"]
    )


def test_build_goes_on_where_prepare_is_refused(engines, bundle, capfd):
    """The host can do its work: the other engines are worth having."""
    script = Script()
    script.at_step = lambda _: setattr(script, "plan", None if len(script.graphs) == 1 else b"plan")
    assert build(BuildOptions(engines=engines), fake_builder_for(script)) == 0
    captured = capfd.readouterr()
    assert re.search(
        r"^nanoseg: prepare\.onnx: .*; the host preprocesses frames instead, which is slower$", captured.err
    )
    assert "4 engines built in " in captured.out
    states = EngineStore(engines).best_states(bundle, ORIN)
    assert [name for name, state in states.items() if not state.valid] == ["prepare"]


def test_build_skips_existing_engines(engines, bundle, capfd):
    builder = fake_builder_for()
    build(BuildOptions(engines=engines), builder)
    assert built(builder) == len(bundle.graphs)
    lines(capfd)
    assert build(BuildOptions(engines=engines), builder) == 0
    assert built(builder) == 0
    printed = lines(capfd)
    assert all(
        re.search(rf"  {name} +\w+  exists, built at 20", line) for name, line in zip(NAMES, printed[2:], strict=False)
    )
    assert printed[-1] == "nothing to build: all engines are valid; --force rebuilds them"
    build(BuildOptions(engines=engines, force=True), builder)
    assert built(builder) == len(bundle.graphs)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"max_objects": 16}, 2),
        ({"max_frame": "3840x2160"}, 1),
        ({"workspace_mb": 100}, 5),
        ({"only": ["detect", "embed"]}, 0),
        ({"only": ["detect"], "force": True}, 1),
    ],
)
def test_build_rebuilds_what_flags_change(engines, change, count):
    builder = fake_builder_for()
    build(BuildOptions(engines=engines), builder)
    built(builder)
    build(BuildOptions(engines=engines, **change), builder)
    assert built(builder) == count
    build(BuildOptions(engines=engines, **{**change, "force": False}), builder)
    assert built(builder) == 0


def test_build_rebuilds_changed_recipe_and_damaged_engine(engines, bundle, capfd):
    builder = fake_builder_for()
    build(BuildOptions(engines=engines), builder)
    built(builder)
    text = (ROOT / "nanoseg" / "engines" / "recipes" / "embed.toml").read_text()
    (engines / "embed.toml").write_text(text.replace("tf32 = true", "tf32 = false").replace("fp16", "int8"))
    (EngineStore(engines).folder("parts", ORIN) / "prepare.engine").write_bytes(b"pla")
    lines(capfd)
    build(BuildOptions(engines=engines), builder)
    assert built(builder) == 2
    printed = lines(capfd)
    assert re.search(r"^  embed +fp\d+  512 MB of workspace, without TF32, though embed.toml is for int8$", printed[4])
    assert [line.split()[0] for line in printed if " built in " in line] == ["prepare", "embed", "2"]


def test_build_keeps_torch2trt_engine(engines, bundle):
    plan = b"torch2trt's"
    records = record("embed", plan, graph_sha256=bundle.graphs["embed"].sha256, origin="encoder.pth")
    EngineStore(engines).put(bundle, ORIN, "embed", plan, records)
    builder = fake_builder_for()
    build(BuildOptions(engines=engines), builder)
    assert built(builder) == len(bundle.graphs) - 1
    build(BuildOptions(engines=engines, only=["embed"], force=True), builder)
    assert built(builder) == 1


def test_build_replaces_version_compatible_engine_of_earlier_tensorrt(engines, bundle):
    earlier = Device(ORIN.gpu, ORIN.compute_capability, "10.1.0")
    records = record("embed", b"x", earlier, graph_sha256=bundle.graphs["embed"].sha256, version_compatible=True)
    EngineStore(engines).put(bundle, earlier, "embed", b"x", records)
    assert EngineStore(engines).best_states(bundle, ORIN)["embed"].valid
    builder = fake_builder_for()
    build(BuildOptions(engines=engines, only=["embed"]), builder)
    assert built(builder) == 1


def test_build_flags_reach_profiles_and_record(engines, bundle):
    builder = fake_builder_for(Script(INPUTS))
    build(
        BuildOptions(engines=engines, only=["prepare"], max_frame="640x480", workspace_mb=7),
        builder=fake_builder_for(Script(INPUTS[:1])),
    )
    build(BuildOptions(engines=engines, only=["segment"], max_objects=16), fake_builder_for(Script(INPUTS[1:])))
    records = {name: state.record for name, state in EngineStore(engines).best_states(bundle, ORIN).items()}
    assert records["prepare"].profiles["frame"].max == [1, 480, 640, 3]
    assert records["segment"].profiles["point_coords"].max == [16, 16, 2]
    assert (records["prepare"].workspace_mb, records["segment"].workspace_mb) == (7, 512)
    with pytest.raises(EngineError, match=r"^prepare\.onnx: 'point_coords': dimension 0 is dynamic \(prompts\)"):
        build(BuildOptions(engines=engines, only=["prepare"], force=True), builder)


def test_build_rtx_has_no_timing_cache(engines, bundle):
    api = fake_builder(version=RTX.tensorrt, name="tensorrt_rtx")
    build(BuildOptions(engines=engines, only=["embed"]), fake_builder_for(here=RTX, api=api))
    assert EngineStore(engines).check(bundle, "embed", RTX)
    assert not list(engines.rglob("timing.cache"))


def test_build_stores_real_engine(engines, bundle):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    # All of it but the half that wants a GPU.
    api = types.ModuleType("tensorrt_rtx")
    vars(api).update({name: getattr(rtx, name) for name in dir(rtx) if not name.startswith("_")})
    api.__version__, api.Runtime = RTX.tensorrt, Loads
    build(BuildOptions(engines=engines, only=["prepare"]), fake_builder_for(here=RTX, api=api))
    path = EngineStore(engines).check(bundle, "prepare", RTX)
    assert path.stat().st_size > 100_000
    assert EngineStore(engines).best_states(bundle, RTX)["prepare"].record.device_memory_bytes == 99


class Loads:
    def __init__(self, log):
        pass

    def deserialize_cuda_engine(self, plan):
        return types.SimpleNamespace(device_memory_size_v2=99)
