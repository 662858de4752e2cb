"""Of several TensorRTs the one that a bundle's engines are for."""

import pytest

from nanoseg.backends import find_device as device
from nanoseg.engines import Device, EngineStore
from tests.helpers.engine_records import PLAN, changed, make_bundle, record

HERE = {
    "tensorrt": Device("Orin 8GB", (8, 7), "10.3.0"),
    "tensorrt-rtx": Device("Orin 8GB", (8, 7), "1.7.1", "tensorrt-rtx"),
    "tensorrt-lean": Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt-lean"),
}
FULL, RTX, LEAN = HERE.values()
OLDER, ANOTHER = changed(FULL, tensorrt="10.1.0"), changed(RTX, gpu="Another")
GRAPHS = ("prepare", "detect", "embed", "segment")


@pytest.mark.parametrize(
    ("installed", "built", "wanted", "loaded"),
    [
        ((FULL, RTX), {}, FULL, ["first"]),
        ((RTX,), {}, RTX, ["first"]),
        ((FULL, RTX), {FULL: GRAPHS}, FULL, ["tensorrt"]),
        ((FULL, RTX), {RTX: GRAPHS}, RTX, ["tensorrt-rtx"]),
        ((FULL, RTX), {FULL: GRAPHS, RTX: GRAPHS}, FULL, ["tensorrt"]),
        ((FULL, RTX), {OLDER: GRAPHS, RTX: GRAPHS}, RTX, ["tensorrt", "tensorrt-rtx"]),
        ((FULL, RTX), {FULL: GRAPHS[:1], RTX: GRAPHS[:2]}, RTX, ["tensorrt", "tensorrt-rtx", "tensorrt-lean"]),
        ((FULL, RTX), {FULL: GRAPHS[:2], RTX: GRAPHS[:2]}, FULL, ["tensorrt", "tensorrt-rtx", "tensorrt-lean"]),
        ((FULL, RTX), {FULL: GRAPHS[:1], ANOTHER: GRAPHS}, FULL, ["tensorrt", "tensorrt-rtx", "tensorrt-lean"]),
        # What the engines are for is not here any more.
        ((FULL,), {RTX: GRAPHS}, FULL, ["tensorrt-rtx", "first"]),
        ((LEAN,), {FULL: GRAPHS}, LEAN, ["tensorrt", "tensorrt-lean"]),
        ((), {FULL: GRAPHS}, None, ["tensorrt", "tensorrt-lean", "first", "first"]),
    ],
)
def test_select_device_by_engines(installed, built, wanted, loaded, tmp_path, monkeypatch):
    bundle, store, calls = make_bundle(), EngineStore(tmp_path), []
    for here, names in built.items():
        for name in names:
            store.put(bundle, here, name, PLAN, record(name, device=here))

    def look(kind=None):
        calls.append(kind or "first")
        found = HERE.get(kind) if kind else next(iter(installed), None)
        return (found, "") if found in installed else (None, "nothing")

    monkeypatch.setattr(device, "find_device", look)
    for path in tmp_path.rglob("*.engine"):
        path.write_bytes(PLAN[::-1])  # what is in them is not looked at
    assert device.select_device(bundle, store) == (wanted, "" if wanted else "nothing")
    assert calls == loaded


def test_candidate_devices_without_records(tmp_path, monkeypatch):
    bundle, store = make_bundle(), EngineStore(tmp_path)
    path = store.put(bundle, RTX, "detect", PLAN, record(device=RTX))
    path.with_name("engines.json").write_text("damaged")
    monkeypatch.setattr(device, "find_device", lambda kind=None: (HERE[kind or "tensorrt"], ""))
    assert list(device.candidate_devices(store.list_states(bundle, None))) == [FULL, RTX, LEAN]
    assert device.select_device(bundle, store) == (RTX, "")  # the folder's name tells
