"""`nanoseg build`: what is built and kept with its record, and what is left alone."""

import re
import types

import pytest

from nanoseg.commands.build.command import BuildOptions
from nanoseg.commands.build.command import build as verb
from nanoseg.errors import EngineError
from nanoseg.engines import Device, EngineStore
from tests.commands.build.bench import INPUTS, NAMES, ROOT, bench, built, lines
from tests.helpers.engine_records import ORIN, RTX, record
from tests.fakes.tensorrt_builder import Script, fake_builder


def test_build_stores_every_engine_with_its_record(engines, bundle, capfd):
    builder = bench(Script(plan=b"an engine", memory=2_500_000))
    assert verb(BuildOptions(engines=engines), builder) == 0
    store = EngineStore(engines)
    folder = store.folder("parts", ORIN)
    told = lines(capfd)
    assert told[:2] == [f"parts {bundle.version}: engines for {ORIN}", f"  into     {folder}"]
    assert [line.split()[0] for line in told[2:6]] == NAMES
    for name, line in zip(NAMES, told[6:10], strict=True):
        assert re.fullmatch(rf"  {name} built in \d+\.\d s: 0\.0 MB, 2\.5 MB more to run in", line)
    assert re.fullmatch(r"4 engines built in \d+\.\d s", told[10])
    for name in NAMES:
        assert store.check(bundle, name, ORIN).read_bytes() == b"an engine"
        made = store.best_states(bundle, ORIN)[name].record
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


def test_build_skips_existing_engines(engines, bundle, capfd):
    builder = bench()
    verb(BuildOptions(engines=engines), builder)
    assert built(builder) == 4
    lines(capfd)
    assert verb(BuildOptions(engines=engines), builder) == 0
    assert built(builder) == 0
    told = lines(capfd)
    assert all(
        re.search(rf"  {name} +\w+  is there, built at 20", line) for name, line in zip(NAMES, told[2:], strict=False)
    )
    assert told[-1] == "nothing to build; --force builds anew"
    verb(BuildOptions(engines=engines, force=True), builder)
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
def test_build_rebuilds_what_flags_change(engines, change, count):
    builder = bench()
    verb(BuildOptions(engines=engines), builder)
    built(builder)
    verb(BuildOptions(engines=engines, **change), builder)
    assert built(builder) == count
    verb(BuildOptions(engines=engines, **{**change, "force": False}), builder)
    assert built(builder) == 0


def test_build_rebuilds_changed_recipe_and_damaged_engine(engines, bundle, capfd):
    builder = bench()
    verb(BuildOptions(engines=engines), builder)
    built(builder)
    text = (ROOT / "nanoseg" / "engines" / "recipes" / "embed.toml").read_text()
    (engines / "embed.toml").write_text(text.replace("tf32 = true", "tf32 = false").replace("fp16", "int8"))
    (EngineStore(engines).folder("parts", ORIN) / "prepare.engine").write_bytes(b"pla")
    lines(capfd)
    verb(BuildOptions(engines=engines), builder)
    assert built(builder) == 2
    told = lines(capfd)
    assert re.search(r"^  embed    fp\d+  512 MB of workspace, without TF32, though embed.toml is for int8$", told[4])
    assert [line.split()[0] for line in told if " built in " in line] == ["prepare", "embed", "2"]


def test_build_keeps_torch2trt_engine(engines, bundle):
    plan = b"torch2trt's"
    made = record("embed", plan, graph_sha256=bundle.graphs["embed"].sha256, origin="encoder.pth")
    EngineStore(engines).put(bundle, ORIN, "embed", plan, made)
    builder = bench()
    verb(BuildOptions(engines=engines), builder)
    assert built(builder) == 3
    verb(BuildOptions(engines=engines, only=["embed"], force=True), builder)
    assert built(builder) == 1


def test_build_replaces_version_compatible_engine_of_earlier_tensorrt(engines, bundle):
    earlier = Device(ORIN.gpu, ORIN.compute_capability, "10.1.0")
    made = record("embed", b"x", earlier, graph_sha256=bundle.graphs["embed"].sha256, version_compatible=True)
    EngineStore(engines).put(bundle, earlier, "embed", b"x", made)
    assert EngineStore(engines).best_states(bundle, ORIN)["embed"].valid
    builder = bench()
    verb(BuildOptions(engines=engines, only=["embed"]), builder)
    assert built(builder) == 1


def test_build_flags_reach_profiles_and_record(engines, bundle):
    builder = bench(Script(INPUTS))
    verb(
        BuildOptions(engines=engines, only=["prepare"], max_frame="640x480", workspace_mb=7),
        builder=bench(Script(INPUTS[:1])),
    )
    verb(BuildOptions(engines=engines, only=["segment"], max_objects=16), bench(Script(INPUTS[1:])))
    made = {name: state.record for name, state in EngineStore(engines).best_states(bundle, ORIN).items()}
    assert made["prepare"].profiles["frame"].max == [1, 480, 640, 3]
    assert made["segment"].profiles["point_coords"].max == [16, 16, 2]
    assert (made["prepare"].workspace_mb, made["segment"].workspace_mb) == (7, 512)
    with pytest.raises(EngineError, match=r"^prepare\.onnx: 'point_coords': dimension 0 is dynamic \(prompts\)"):
        verb(BuildOptions(engines=engines, only=["prepare"], force=True), builder)


def test_build_rtx_has_no_timing_cache(engines, bundle):
    api = fake_builder(version=RTX.tensorrt, name="tensorrt_rtx")
    verb(BuildOptions(engines=engines, only=["embed"]), bench(here=RTX, api=api))
    assert EngineStore(engines).check(bundle, "embed", RTX)
    assert not list(engines.rglob("timing.cache"))


def test_build_stores_real_engine(engines, bundle):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    # All of it but the half that wants a GPU.
    api = types.ModuleType("tensorrt_rtx")
    vars(api).update({name: getattr(rtx, name) for name in dir(rtx) if not name.startswith("_")})
    api.__version__, api.Runtime = RTX.tensorrt, Loads
    verb(BuildOptions(engines=engines, only=["prepare"]), bench(here=RTX, api=api))
    path = EngineStore(engines).check(bundle, "prepare", RTX)
    assert path.stat().st_size > 100_000
    assert EngineStore(engines).best_states(bundle, RTX)["prepare"].record.device_memory_bytes == 99


class Loads:
    def __init__(self, log):
        pass

    def deserialize_cuda_engine(self, plan):
        return types.SimpleNamespace(device_memory_size_v2=99)
