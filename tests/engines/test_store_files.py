"""Engines of another graph, files that are not what they were, and folders that cannot be read."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from nanoseg.errors import EngineError
from tests.engines.damage import directory, forbid, write
from tests.helpers.engine_records import ORIN, PLAN, RTX, changed, make_bundle, record, refusal, sha


def test_store_refuses_engine_of_an_older_graph(store, bundle, built):
    graphs = {**bundle.graphs, "detect": dataclasses.replace(bundle.graphs["detect"], sha256="ab" * 32)}
    reason = f"built from an older detect.onnx, sha256 {sha(b'detect')[:12]}; the bundle's is abababababab"
    assert refusal(store, dataclasses.replace(bundle, graphs=graphs), ORIN) == (built, reason)


def test_store_engine_of_a_removed_graph(store, bundle):
    larger = make_bundle(graphs=("detect", "segment_mask"))
    store.put(larger, ORIN, "segment_mask", PLAN, record("segment_mask"))
    assert [state.invalid_reason for state in store.list_states(bundle, ORIN)] == [
        "the bundle has no graph segment_mask"
    ]
    assert "segment_mask" not in store.best_states(bundle, ORIN)
    with pytest.raises(EngineError, match="nuts: has no graph segment_mask; its graphs are prepare, detect, embed, se"):
        store.check(bundle, "segment_mask", ORIN)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (write(PLAN[:-1]), "truncated: wanted 1024 bytes, got 1023"),
        (write(b""), "truncated: wanted 1024 bytes, got 0"),
        (write(PLAN + b"x"), "altered since it was built: wanted 1024 bytes, got 1025"),
        (
            write(bytes([1]) + PLAN[1:]),
            f"altered since it was built: wanted sha256 {sha(PLAN)}, got {sha(bytes([1]) + PLAN[1:])}",
        ),
        (Path.unlink, "the file is missing"),
        (directory, "altered since it was built"),
    ],
)
def test_store_refuses_altered_file(damage, reason, store, bundle, built):
    damage(built)
    path, found = refusal(store, bundle, ORIN)
    assert path == built
    assert found.startswith(reason)
    store.put(bundle, ORIN, "embed", b"another", record("embed", b"another"))
    assert store.check(bundle, "embed", ORIN).read_bytes() == b"another"


def test_store_unreadable_file(store, bundle, built, monkeypatch):
    forbid(monkeypatch, built)
    assert refusal(store, bundle, ORIN) == (built, "cannot be read: Permission denied")


UNREADABLE = "its folder cannot be read: Permission denied"


def test_store_unreadable_folder_of_another_device(store, bundle, built, monkeypatch):
    other = changed(ORIN, gpu="Another")  # its name is before this device's
    for name in ("detect", "embed"):
        store.put(bundle, other, name, PLAN, record(name, device=other))
    folder = store.folder("nuts", other)
    forbid(monkeypatch, folder, folder / "engines.json")
    assert store.load(bundle, "detect", ORIN) == (PLAN, record())
    assert store.best_states(bundle, ORIN)["detect"].valid
    states = store.list_states(bundle, ORIN)
    assert (states[0].path, states[0].valid) == (built, True)
    assert [(state.path, state.record, state.invalid_reason) for state in states[1:]] == [
        (folder / f"{name}.engine", None, UNREADABLE) for name in bundle.graphs
    ]


def test_store_unreadable_own_folder(store, bundle, built, monkeypatch):
    forbid(monkeypatch, built.parent, built.parent / "engines.json")
    assert refusal(store, bundle, ORIN) == (built, UNREADABLE)
    assert [state.invalid_reason for state in store.best_states(bundle, ORIN).values()] == [UNREADABLE] * 4
    assert all(state.built_for(ORIN) and not state.built_for(RTX) for state in store.list_states(bundle, None))


def test_store_folder_without_list_permission(store, bundle, built, monkeypatch):
    """As of mode 711: engines.json tells what is in it."""
    forbid(monkeypatch, built.parent)
    assert store.load(bundle, "detect", ORIN) == (PLAN, record())
    assert [(state.path, state.valid) for state in store.list_states(bundle, ORIN)] == [(built, True)]


def test_state_nbytes_without_permission(store, bundle, built, monkeypatch):
    (state,) = store.list_states(bundle, ORIN)
    assert state.nbytes == len(PLAN)

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "is_file", refuse)
    assert state.nbytes is None
