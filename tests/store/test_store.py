"""The engine store: what it takes in, and the sentence about every engine that it does not give out."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import msgspec
import pytest

from nanoseg.errors import EngineError
from nanoseg.store import Device, shelves
from tests.engine_records import ORIN, PLAN, RTX, changed, make_bundle, record, refusal, sha

NOTHING = "no TensorRT on this machine"


# --- a good one ---


def test_what_is_put_in_comes_out(store, bundle, built, tmp_path):
    assert built == tmp_path / "engines" / "nuts" / "orin-8gb-sm87-trt10.3.0" / "detect.engine"
    assert store.folder("nuts", ORIN) == built.parent
    assert store.check(bundle, "detect", ORIN) == built
    assert built.read_bytes() == PLAN
    state = store.read(bundle, ORIN)["detect"]
    assert (state.graph, state.path, state.record, state.valid, state.why) == ("detect", built, record(), True, "")
    assert store.all(bundle, ORIN) == [state]
    told = json.loads((built.parent / "engines.json").read_text())
    assert told == {"format": 1, "engines": {"detect": {**msgspec.to_builtins(record()), "compute_capability": [8, 7]}}}


def test_engines_are_in_the_order_of_the_bundles_graphs_and_another_put_keeps_them(store, bundle, built):
    for name in ("segment", "embed"):
        store.put(bundle, ORIN, name, name.encode(), record(name, name.encode()))
    store.put(bundle, ORIN, "detect", b"anew", record(plan=b"anew"))
    assert [state.graph for state in store.all(bundle, ORIN) if state.valid] == ["detect", "embed", "segment"]
    assert store.check(bundle, "detect", ORIN).read_bytes() == b"anew"
    assert {name: state.why for name, state in store.read(bundle, ORIN).items()} == {
        "prepare": "not built",
        "detect": "",
        "embed": "",
        "segment": "",
    }


@pytest.mark.parametrize(
    ("device", "folder"),
    [
        (ORIN, "orin-8gb-sm87-trt10.3.0"),
        (changed(ORIN, kind="tensorrt_lean"), "orin-8gb-sm87-trt10.3.0"),
        (RTX, "nvidia-geforce-rtx-4090-sm89-rtx1.7.1"),
        (Device("NVIDIA RTX PRO (Blackwell)", (12, 0), "11.4.0.106"), "nvidia-rtx-pro-blackwell-sm120-trt11.4.0.106"),
        (Device("../\u00e9/..", (8, 6), "10/../3"), "gpu-sm86-trt10-..-3"),
    ],
)
def test_a_devices_folder(device, folder):
    assert device.folder == folder


def test_others_may_read_what_was_built(built):
    mask = os.umask(0)
    os.umask(mask)
    for path in (built, built.parent / "engines.json"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


# --- engines of another device ---

DEVICES = [
    (changed(ORIN, gpu="Orin 64GB"), "built for the GPU Orin 8GB (sm87), here is Orin 64GB (sm87)"),
    (
        changed(ORIN, gpu="NVIDIA Thor 128GB", compute_capability=(11, 0)),
        "built for the GPU Orin 8GB (sm87), here is NVIDIA Thor 128GB (sm110)",
    ),
    (changed(ORIN, compute_capability=(8, 6)), "built for the GPU Orin 8GB (sm87), here is Orin 8GB (sm86)"),
    (changed(ORIN, tensorrt="10.13.3.9"), "built by TensorRT 10.3.0, here is TensorRT 10.13.3.9"),
    (changed(ORIN, tensorrt="10.2.0"), "built by TensorRT 10.3.0, here is TensorRT 10.2.0"),
    (
        changed(ORIN, tensorrt="1.7.1", kind="tensorrt_rtx"),
        "built by TensorRT 10.3.0, here is TensorRT for RTX 1.7.1",
    ),
    (
        changed(ORIN, kind="tensorrt_lean"),
        "not built version-compatible, and TensorRT's lean runtime 10.3.0 runs no others",
    ),
    (None, NOTHING),
]


@pytest.mark.parametrize(("here", "why"), DEVICES)
def test_an_engine_of_another_device(here, why, store, bundle, built):
    assert refusal(store, bundle, here) == (built, why)


@pytest.mark.parametrize(("here", "why"), [row for row in DEVICES if row[0]])
def test_a_folder_of_another_device_renamed(here, why, store, bundle, built):
    moved = store.folder("nuts", here)
    built.parent.rename(moved)
    assert refusal(store, bundle, here) == (moved / "detect.engine", why)


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (changed(RTX, tensorrt="1.8.0"), "built by TensorRT for RTX 1.7.1, here is TensorRT for RTX 1.8.0"),
        (changed(RTX, tensorrt="10.3.0", kind="tensorrt"), "built by TensorRT for RTX 1.7.1, here is TensorRT 10.3.0"),
    ],
)
def test_tensorrt_for_rtx_runs_what_its_very_release_built(here, why, store, bundle):
    made = record(device=RTX, version_compatible=True)
    path = store.put(bundle, RTX, "detect", PLAN, made)
    assert store.check(bundle, "detect", RTX) == path
    assert refusal(store, bundle, here) == (path, why)


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (ORIN, ""),
        (changed(ORIN, tensorrt="10.13.3.9"), ""),
        (changed(ORIN, tensorrt="10.3.0.26"), ""),
        (changed(ORIN, kind="tensorrt_lean"), ""),
        (changed(ORIN, tensorrt="10.13.0", kind="tensorrt_lean"), ""),
        (changed(ORIN, tensorrt="10.2.0"), "built by TensorRT 10.3.0, here is TensorRT 10.2.0"),
        (changed(ORIN, tensorrt="11.4.0"), "built by TensorRT 10.3.0, here is TensorRT 11.4.0"),
        (changed(ORIN, tensorrt="9.9.0"), "built by TensorRT 10.3.0, here is TensorRT 9.9.0"),
        (changed(ORIN, gpu="Orin 16GB"), "built for the GPU Orin 8GB (sm87), here is Orin 16GB (sm87)"),
        (changed(ORIN, kind="tensorrt_rtx"), "built by TensorRT 10.3.0, here is TensorRT for RTX 10.3.0"),
    ],
)
def test_a_version_compatible_engine_runs_on_later_versions_of_its_major(here, why, store, bundle):
    path = store.put(bundle, ORIN, "detect", PLAN, record(version_compatible=True))
    if not why:
        assert store.check(bundle, "detect", here) == path
    else:
        versions = ": version-compatible, but nanoseg takes those of earlier versions of the same major alone"
        tail = versions if why.startswith("built by") and here.kind == "tensorrt" else ""
        assert refusal(store, bundle, here) == (path, why + tail)


def test_two_builds_of_one_release_are_the_same_version(store, bundle):
    wheel, apt = (changed(ORIN, tensorrt=version) for version in ("10.13.3.9", "10.13.3"))
    path = store.put(bundle, wheel, "detect", PLAN, record(device=wheel, version_compatible=True))
    assert store.check(bundle, "detect", apt) == path


def test_of_several_engines_the_nearest_is_given_and_told_of(store, bundle):
    here = changed(ORIN, tensorrt="10.13.0")
    older, later = (changed(ORIN, tensorrt=version) for version in ("10.3.0", "10.9.0"))
    another = changed(ORIN, gpu="Another", tensorrt="10.13.0")
    store.put(bundle, another, "detect", PLAN, record(device=another))
    plain = store.put(bundle, later, "detect", PLAN, record(device=later))
    # The same GPU's goes before another's, though neither can run.
    assert refusal(store, bundle, here) == (plain, "built by TensorRT 10.9.0, here is TensorRT 10.13.0")
    first = store.put(bundle, older, "detect", PLAN, record(device=older, version_compatible=True))
    assert store.check(bundle, "detect", here) == first
    second = store.put(bundle, later, "detect", PLAN, record(device=later, version_compatible=True))
    assert store.check(bundle, "detect", here) == second
    own = store.put(bundle, here, "detect", PLAN, record(device=here))
    assert store.check(bundle, "detect", here) == own
    own.write_bytes(PLAN[:-1])
    assert store.check(bundle, "detect", here) == second
    assert store.all(bundle, here)[0].path == own


# --- engines of another graph, and files that are not what they were ---


def test_an_engine_of_an_older_graph(store, bundle, built):
    graphs = {**bundle.graphs, "detect": dataclasses.replace(bundle.graphs["detect"], sha256="ab" * 32)}
    why = f"built from an older detect.onnx, sha256 {sha(b'detect')[:12]}; the bundle's is abababababab"
    assert refusal(store, dataclasses.replace(bundle, graphs=graphs), ORIN) == (built, why)


def test_an_engine_for_a_graph_that_the_bundle_no_longer_has(store, bundle):
    larger = make_bundle(graphs=("detect", "segment_mask"))
    store.put(larger, ORIN, "segment_mask", PLAN, record("segment_mask"))
    assert [state.why for state in store.all(bundle, ORIN)] == ["the bundle has no graph segment_mask"]
    assert "segment_mask" not in store.read(bundle, ORIN)
    with pytest.raises(EngineError, match="nuts: has no graph segment_mask; its graphs are prepare, detect, embed, se"):
        store.check(bundle, "segment_mask", ORIN)


def write(content):
    return lambda path: path.write_bytes(content)


def directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "why"),
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
def test_a_file_that_is_not_what_was_built(damage, why, store, bundle, built):
    damage(built)
    path, told = refusal(store, bundle, ORIN)
    assert path == built
    assert told.startswith(why)
    store.put(bundle, ORIN, "embed", b"another", record("embed", b"another"))
    assert store.check(bundle, "embed", ORIN).read_bytes() == b"another"


def forbid(monkeypatch, *paths):
    """Nobody may read these files or list these folders, root neither."""

    def forbidding(function):
        def do(path, *arguments, **options):
            if path in paths:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *arguments, **options)

        return do

    for name in ("open", "iterdir", "read_bytes"):
        monkeypatch.setattr(Path, name, forbidding(getattr(Path, name)))


def test_a_file_that_cannot_be_read(store, bundle, built, monkeypatch):
    forbid(monkeypatch, built)
    assert refusal(store, bundle, ORIN) == (built, "cannot be read: Permission denied")


# --- what is loaded ---


def test_what_is_loaded_is_what_was_verified(store, bundle, built, monkeypatch):
    """A file is read once: there is no moment in which it could be another."""
    opened = []
    really = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **named: (opened.append(path), really(path, *given, **named))[1]
    )
    assert store.load(bundle, "detect", ORIN) == (PLAN, record())
    assert opened.count(built) == 1
    opened.clear()
    assert store.check(bundle, "detect", ORIN) == built
    assert built not in opened


def test_one_that_was_altered_is_found_when_it_is_loaded(store, bundle, built):
    other = bytes([1]) + PLAN[1:]
    built.write_bytes(other)
    assert store.check(bundle, "detect", ORIN) == built  # its size is right
    assert refusal(store, bundle, ORIN) == (
        built,
        f"altered since it was built: wanted sha256 {sha(PLAN)}, got {sha(other)}",
    )


def test_the_next_best_is_loaded_where_the_nearest_was_altered(store, bundle):
    here = changed(ORIN, tensorrt="10.13.0")
    later = changed(ORIN, tensorrt="10.9.0")
    plans = {ORIN: b"the oldest", later: b"the older", here: b"its own"}
    paths = {}
    for device, plan in plans.items():
        paths[device] = store.put(
            bundle, device, "detect", plan, record(plan=plan, device=device, version_compatible=True)
        )
    for device in (here, later, ORIN):
        assert store.load(bundle, "detect", here)[0] == plans[device]
        paths[device].write_bytes(plans[device][::-1])
    path, why = refusal(store, bundle, here)
    assert path == paths[here]
    assert why.startswith("altered since it was built: wanted sha256")


@pytest.mark.parametrize("anew", [PLAN[::-1], PLAN[:-1], PLAN + b"1"], ids=["same size", "shorter", "longer"])
def test_one_that_is_put_in_while_it_is_loaded_is_taken(anew, store, bundle, built, monkeypatch):
    """Between the reading of the records and that of the file."""
    really, put = shelves.read_sidecar, []

    def read(folder):
        records = really(folder)
        if not put:
            put.append(True)
            store.put(bundle, ORIN, "detect", anew, record(plan=anew))
        return records

    monkeypatch.setattr(shelves, "read_sidecar", read)
    assert store.load(bundle, "detect", ORIN) == (anew, record(plan=anew))


def test_plans_are_not_in_memory_together(store, bundle, built, monkeypatch):
    """Neither those of several graphs, nor one that was refused and the next best."""
    alive, most = [], []

    class Plan(bytes):
        def __init__(self, _):
            alive.append(None)
            most.append(len(alive))

        def __del__(self):
            alive.pop()

    older = changed(ORIN, tensorrt="10.1.0")
    store.put(bundle, older, "detect", PLAN, record(device=older, version_compatible=True))
    store.put(bundle, ORIN, "embed", PLAN, record("embed"))
    built.write_bytes(PLAN[::-1])
    really = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (Plan if path.suffix == ".engine" else bytes)(really(path)))
    for name in ("detect", "embed"):
        assert store.load(bundle, name, ORIN)[0] == PLAN
    assert (most, alive) == ([1, 1, 1, 1], [])  # the one that was refused was read again


# --- folders that cannot be read ---

UNREADABLE = "its folder cannot be read: Permission denied"


def test_a_folder_of_another_device_that_cannot_be_read_hides_nothing(store, bundle, built, monkeypatch):
    other = changed(ORIN, gpu="Another")  # its name is before this device's
    for name in ("detect", "embed"):
        store.put(bundle, other, name, PLAN, record(name, device=other))
    folder = store.folder("nuts", other)
    forbid(monkeypatch, folder, folder / "engines.json")
    assert store.load(bundle, "detect", ORIN) == (PLAN, record())
    assert store.read(bundle, ORIN)["detect"].valid
    states = store.all(bundle, ORIN)
    assert (states[0].path, states[0].valid) == (built, True)
    assert [(state.path, state.record, state.why) for state in states[1:]] == [
        (folder / f"{name}.engine", None, UNREADABLE) for name in bundle.graphs
    ]


def test_this_devices_folder_that_cannot_be_read(store, bundle, built, monkeypatch):
    forbid(monkeypatch, built.parent, built.parent / "engines.json")
    assert refusal(store, bundle, ORIN) == (built, UNREADABLE)
    assert [state.why for state in store.read(bundle, ORIN).values()] == [UNREADABLE] * 4
    assert all(state.is_for(ORIN) and not state.is_for(RTX) for state in store.all(bundle, None))


def test_a_folder_that_cannot_be_listed_but_entered(store, bundle, built, monkeypatch):
    """As of mode 711: engines.json tells what is in it."""
    forbid(monkeypatch, built.parent)
    assert store.load(bundle, "detect", ORIN) == (PLAN, record())
    assert [(state.path, state.valid) for state in store.all(bundle, ORIN)] == [(built, True)]


def test_the_size_of_a_file_that_cannot_be_asked(store, bundle, built, monkeypatch):
    (state,) = store.all(bundle, ORIN)
    assert state.nbytes == len(PLAN)

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "is_file", refuse)
    assert state.nbytes is None


def test_nothing_was_built(store, bundle, tmp_path):
    path = tmp_path / "engines" / "nuts" / "orin-8gb-sm87-trt10.3.0" / "detect.engine"
    assert refusal(store, bundle, ORIN) == (path, "not built")
    assert refusal(store, bundle, None)[1] == NOTHING
    assert store.all(bundle, ORIN) == []
    assert not (tmp_path / "engines").exists()


# --- engines.json ---


def edited(**changes):
    def edit(path):
        told = json.loads(path.read_text())
        record = told["engines"]["detect"]
        for key, value in changes.items():
            del record[key]
            if value is not None:
                record[key] = value
        path.write_text(json.dumps(told))

    return edit


SIDECARS = [
    (Path.unlink, "engines.json is missing beside it"),
    (write(b""), "engines.json beside it is damaged: Input data was truncated"),
    (write(b'{"format": 1, "engin'), "engines.json beside it is damaged: Input data was truncated"),
    (write(b"\xff\xfe\x00"), "engines.json beside it is damaged: JSON is malformed"),
    (write(b"[" * 100_000), "engines.json beside it is damaged: "),
    (write(b'"' + b"\xff" * 9 + b'"'), "engines.json beside it is damaged: "),
    (write(b"[]"), "engines.json beside it is damaged: Expected `object`, got `array`"),
    (write(b"{}"), "engines.json beside it is damaged: Object missing required field `format`"),
    (write(b'{"format": 0, "engines": {}}'), "engines.json beside it is damaged: format: wanted 1, got 0"),
    (write(b'{"format": true, "engines": {}}'), "engines.json beside it is damaged: format: Expected `int`, got `bool"),
    (
        write(b'{"format": 2, "shelves": []}'),
        "engines.json beside it is of format 2, this nanoseg reads 1: a newer one wrote it",
    ),
    (write(b'{"format": 1, "engines": {}}'), "engines.json beside it has no record of it, so its build was cut short"),
    (
        edited(sha256="00"),
        "engines.json beside it is damaged: engines[...].sha256: Expected `str` matching regex '^[0-9a-f]{64}$'",
    ),
    (edited(bytes=None), "engines.json beside it is damaged: engines[...]: Object missing required field `bytes`"),
    (edited(kind="torch"), "engines.json beside it is damaged: engines[...].kind: Invalid enum value 'torch'"),
    (edited(file="../../secret"), "engines.json beside it is damaged: engines[...].file: Expected `str` matching"),
    (edited(graph="embed"), "engines.json beside it is damaged: engines.detect.graph: wanted detect, got embed"),
    (directory, "engines.json beside it cannot be read: Is a directory"),
]


@pytest.mark.parametrize(("damage", "why"), SIDECARS)
def test_a_sidecar_that_cannot_be_trusted(damage, why, store, bundle, built):
    damage(built.parent / "engines.json")
    path, told = refusal(store, bundle, ORIN)
    assert path == built
    assert told.startswith(why)
    (state,) = store.all(bundle, ORIN)
    assert (state.graph, state.path, state.record, state.why) == ("detect", built, None, told)


@pytest.mark.parametrize("damage", [row[0] for row in SIDECARS if row[0] is not directory])
def test_a_build_mends_it(damage, store, bundle, built):
    damage(built.parent / "engines.json")
    store.put(bundle, ORIN, "detect", b"anew", record(plan=b"anew"))
    assert store.check(bundle, "detect", ORIN).read_bytes() == b"anew"
