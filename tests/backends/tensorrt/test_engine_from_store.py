"""Engines from the store."""

import pytest

from nanoseg.backends.tensorrt.engine import load_engine
from nanoseg.engines import Device, EngineStore
from nanoseg.errors import EngineError
from tests.backends.tensorrt.runner import Runner, X
from tests.fakes.tensorrt_platforms import FAKES, RECIPE, SCALE, open_platform
from tests.fakes.tensorrt_runtime import fake_plan, profile_of
from tests.helpers.engine_records import changed, make_bundle, record, sha

LEAN = Device("NVIDIA GeForce RTX 4090", (8, 9), "10.13.0", "tensorrt-lean")
FULL = changed(LEAN, tensorrt="10.13.0", kind="tensorrt")


def put(folder, device, **settings):
    """A store with one engine of a graph."""
    bundle, store = make_bundle(), EngineStore(folder)
    compatible = settings.get("version_compatible", False)
    plan = fake_plan(SCALE, profile_of(SCALE, RECIPE.dimensions), kind=device.kind, version=device.tensorrt, **settings)
    store.put(bundle, device, "detect", plan, record(plan=plan, device=device, version_compatible=compatible))
    return store, bundle


@pytest.mark.parametrize("name", FAKES)
def test_load_engine_from_store(name, tmp_path, monkeypatch):
    with open_platform(name, monkeypatch) as fake:
        device = changed(FULL, tensorrt=fake.api.fake.version, kind=fake.api.fake.kind)
        store, bundle = put(tmp_path, device)
        with load_engine(store, bundle, "detect", device, fake.gpu) as engine:
            assert engine.name == "detect.engine"
            assert Runner(fake, engine, {"x": (3, 4)}).run(x=X, k=2)[1] == (X * 2).sum()


@pytest.mark.parametrize("device", [FULL, LEAN], ids=lambda device: device.kind)
def test_load_engine_version_compatible(device, tmp_path, monkeypatch):
    store, bundle = put(tmp_path, changed(FULL, tensorrt="10.3.0"), version_compatible=True)
    monkeypatch.setitem(FAKES, "later", (device.kind, device.tensorrt, "12.9"))
    with open_platform("later", monkeypatch) as fake, load_engine(store, bundle, "detect", device, fake.gpu) as engine:
        assert engine.max_shape("x") == (8, 4)


def test_load_engine_invalid(tmp_path, monkeypatch):
    """Code that came with an engine is run: no byte of one that was altered reaches TensorRT."""
    with open_platform("10.3", monkeypatch) as fake:
        device = changed(FULL, tensorrt="10.3.0")
        store, bundle = put(tmp_path, device)
        path = store.check(bundle, "detect", device)
        plan = path.read_bytes()
        path.write_bytes(plan[:-1] + bytes([plan[-1] ^ 1]))
        with pytest.raises(
            EngineError, match=f"altered since it was built: .*, got {sha(path.read_bytes())}; build it here"
        ):
            load_engine(store, bundle, "detect", device, fake.gpu)
        with pytest.raises(EngineError, match=r"embed\.engine: not built; build it here: nanoseg build"):
            load_engine(store, bundle, "embed", device, fake.gpu)
        assert not fake.api.fake.calls
