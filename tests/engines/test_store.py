"""The engine store: what is put in comes out."""

import json
import os

import msgspec
import pytest

from nanoseg.engines import Device
from tests.engines.damage import NOTHING
from tests.helpers.engine_records import ORIN, PLAN, RTX, changed, record, refusal


def test_store_round_trip(store, bundle, built, tmp_path):
    assert built == tmp_path / "engines" / "nuts" / "orin-8gb-sm87-trt10.3.0" / "detect.engine"
    assert store.folder("nuts", ORIN) == built.parent
    assert store.check(bundle, "detect", ORIN) == built
    assert built.read_bytes() == PLAN
    state = store.best_states(bundle, ORIN)["detect"]
    assert (state.graph, state.path, state.record, state.valid, state.invalid_reason) == (
        "detect",
        built,
        record(),
        True,
        "",
    )
    assert store.list_states(bundle, ORIN) == [state]
    found = json.loads((built.parent / "engines.json").read_text())
    assert found == {
        "format": 2,
        "engines": {"detect": {**msgspec.to_builtins(record()), "compute_capability": [8, 7]}},
    }


def test_store_lists_engines_in_graph_order(store, bundle, built):
    for name in ("segment", "embed"):
        store.put(bundle, ORIN, name, name.encode(), record(name, name.encode()))
    store.put(bundle, ORIN, "detect", b"anew", record(plan=b"anew"))
    assert [state.graph for state in store.list_states(bundle, ORIN) if state.valid] == ["detect", "embed", "segment"]
    assert store.check(bundle, "detect", ORIN).read_bytes() == b"anew"
    assert {name: state.invalid_reason for name, state in store.best_states(bundle, ORIN).items()} == {
        "prepare": "not built",
        "detect": "",
        "embed": "",
        "segment": "",
    }


@pytest.mark.parametrize(
    ("device", "folder"),
    [
        (ORIN, "orin-8gb-sm87-trt10.3.0"),
        (changed(ORIN, kind="tensorrt-lean"), "orin-8gb-sm87-trt10.3.0"),
        (RTX, "nvidia-geforce-rtx-4090-sm89-rtx1.7.1"),
        (Device("NVIDIA RTX PRO (Blackwell)", (12, 0), "11.4.0.106"), "nvidia-rtx-pro-blackwell-sm120-trt11.4.0.106"),
        (Device("../\u00e9/..", (8, 6), "10/../3"), "gpu-sm86-trt10-..-3"),
    ],
)
def test_device_folder(device, folder):
    assert device.folder == folder


def test_store_files_follow_the_umask(built):
    mask = os.umask(0)
    os.umask(mask)
    for path in (built, built.parent / "engines.json"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_store_empty(store, bundle, tmp_path):
    path = tmp_path / "engines" / "nuts" / "orin-8gb-sm87-trt10.3.0" / "detect.engine"
    assert refusal(store, bundle, ORIN) == (path, "not built")
    assert refusal(store, bundle, None)[1] == NOTHING
    assert store.list_states(bundle, ORIN) == []
    assert not (tmp_path / "engines").exists()
