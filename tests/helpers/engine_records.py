"""Fake engines for tests of the engine store: a few bytes each, with complete records."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from nanoseg.bundle import Bundle, Graph
from nanoseg.engines import Device, EngineRecord, InvalidEngineError, Profile, RecipeReference

PLAN = bytes(range(256)) * 4
ORIN = Device("Orin 8GB", (8, 7), "10.3.0")
RTX = Device("NVIDIA GeForce RTX 4090", (8, 9), "1.7.1", "tensorrt-rtx")


def changed(device, **changes):
    return dataclasses.replace(device, **changes)


def sha(content):
    return hashlib.sha256(content).hexdigest()


def make_bundle(path=Path("/bundles/nuts"), name="nuts", graphs=("prepare", "detect", "embed", "segment")):
    entries = {each: Graph(f"{each}.onnx", sha(each.encode()), 5, "fp32", path / f"{each}.onnx") for each in graphs}
    return Bundle(path, name, "1", "", "", ("nut",), 0.25, 0.7, 300, 320, 320, 512, entries, {}, {})


def record(name="detect", plan=PLAN, device=ORIN, **changes):
    values = {
        "graph": name,
        "file": f"{name}.engine",
        "bytes": len(plan),
        "sha256": sha(plan),
        "graph_sha256": sha(name.encode()),
        "gpu": device.gpu,
        "compute_capability": device.compute_capability,
        "tensorrt": device.tensorrt,
        "kind": device.kind,
        "precision": "int8",
        "recipe": RecipeReference(f"{name}.toml", sha(b"recipe")),
        "profiles": {"frame": Profile([1, 120, 160, 3], [1, 480, 640, 3], [1, 2160, 3840, 3])},
        "workspace_mb": 512,
        "tf32": True,
        "version_compatible": False,
        "build_seconds": 61.5,
        "built_at": "2026-11-21T12:00:00+00:00",
        "device_memory_bytes": 1 << 25,
    }
    return EngineRecord(**{**values, **changes})


def refusal(store, bundle, device, name="detect"):
    """Return path and reason of load()'s error, without the advice; best_states() and list_states() must agree."""
    with pytest.raises(InvalidEngineError) as error:
        store.load(bundle, name, device)
    assert error.value.exit_code == 5
    assert "\n" not in str(error.value)
    problem, _, advice = str(error.value).rpartition("; ")
    assert ("nanoseg build --bundle /bundles/nuts" in advice) == (device is not None)
    state = store.best_states(bundle, device)[name]
    assert not state.valid
    assert problem == f"{state.path}: {state.invalid_reason}"
    listed = [each for each in store.list_states(bundle, device) if each.path == state.path]
    assert [each.invalid_reason for each in listed] in ([state.invalid_reason], [])
    return state.path, state.invalid_reason
