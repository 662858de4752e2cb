"""What the store takes in: whole or not at all, whatever goes wrong, whoever else does the same."""

import errno
import multiprocessing
import os

import pytest

from nanoseg.engines import EngineStore, RecipeReference
from nanoseg.errors import EngineError
from tests.helpers.engine_records import ORIN, PLAN, changed, make_bundle, record, refusal, sha

# --- putting ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"graph": "embed"}, "graph: wanted detect, got embed"),
        ({"file": "x.engine"}, "file: wanted detect.engine, got x.engine"),
        ({"file": "../x"}, "file: Expected `str` matching regex"),
        ({"bytes": 5}, "bytes: wanted 1024, got 5"),
        ({"sha256": "0" * 64}, f"sha256: wanted {sha(PLAN)}, got {'0' * 64}"),
        ({"graph_sha256": "0" * 64}, "built from an older detect.onnx, sha256 000000000000; the bundle's is "),
        ({"gpu": "Orin 4GB"}, "built for the GPU Orin 4GB (sm87), here is Orin 8GB (sm87)"),
        ({"tensorrt": "10.2.0"}, "built by TensorRT 10.2.0, here is TensorRT 10.3.0"),
        ({"recipe": RecipeReference("detect.toml", "?")}, "recipe.sha256: Expected `str` matching regex"),
        ({"build_seconds": float("nan")}, "build_seconds: Expected `float`, got `null`"),
    ],
)
def test_put_refuses_record_of_another_engine(changes, reason, store, bundle, tmp_path):
    with pytest.raises(EngineError) as error:
        store.put(bundle, ORIN, "detect", PLAN, record(**changes))
    assert f"detect.engine: its record does not fit it: {reason}" in str(error.value)
    assert not (tmp_path / "engines").exists()


def test_put_refuses_empty_engine(store, bundle):
    with pytest.raises(EngineError, match="its record does not fit it: bytes: Expected `int` >= 1; build it anew"):
        store.put(bundle, ORIN, "detect", b"", record(plan=b""))


def failing_at(monkeypatch, function, call, error):
    """From the `call`-th call on, os.`function` raises."""
    real, calls = getattr(os, function), []

    def fake(*arguments, **options):
        calls.append(arguments)
        if len(calls) >= call:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(os, function, fake)


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize(
    ("function", "call", "code", "reason"),
    [
        ("fsync", 1, errno.ENOSPC, "No space left on device"),  # while the engine is written
        ("fsync", 2, errno.ENOSPC, "No space left on device"),  # while engines.json is
        ("open", 1, errno.EROFS, "Read-only file system"),
        ("replace", 1, errno.EACCES, "Permission denied"),
    ],
)
def test_put_on_failing_disk_changes_nothing(function, call, code, reason, store, bundle, built, monkeypatch):
    before = listing(built.parent)
    plan = bytes(2_340_000)
    with monkeypatch.context() as patch:
        failing_at(patch, function, call, OSError(code, os.strerror(code)))
        with pytest.raises(EngineError) as error:
            store.put(bundle, ORIN, "detect", plan, record(plan=plan))
    assert str(error.value) == (
        f"{built}: cannot be written: {reason}; the engine wants 2.3 MB; "
        "make room, or give another folder: --engines DIR"
    )
    assert listing(built.parent) == before
    assert store.check(bundle, "detect", ORIN) == built


def test_store_root_is_a_file(bundle, tmp_path):
    (tmp_path / "engines").write_text("a file")
    store = EngineStore(tmp_path / "engines")
    with pytest.raises(EngineError, match=r"detect\.engine: cannot be written: Not a directory"):
        store.put(bundle, ORIN, "detect", PLAN, record())
    with pytest.raises(EngineError, match="cannot be written: Not a directory"), store.build_lock(bundle, ORIN):
        pass
    with pytest.raises(EngineError, match="nuts: cannot be read: Not a directory"):
        store.check(bundle, "detect", ORIN)


def test_store_reading_writes_nothing(store, bundle, built):
    def everything():
        return sorted((str(path), path.stat().st_mtime_ns) for path in store.root.rglob("*"))

    (built.parent / ".lock").unlink()
    built.parent.chmod(0o555)
    try:
        before = everything()
        assert store.check(bundle, "detect", ORIN) == built
        assert len(store.list_states(bundle, None)) == 1
        assert everything() == before
    finally:
        built.parent.chmod(0o755)


# --- what was cut short ---


@pytest.mark.parametrize("call", [1, 2])
def test_put_interrupted_first_time(call, store, bundle, monkeypatch):
    folder = store.folder("nuts", ORIN)
    with monkeypatch.context() as patch:
        failing_at(patch, "replace", call, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            store.put(bundle, ORIN, "detect", PLAN, record())
    assert sorted(listing(folder)) == ["detect.engine"][: call - 1]  # nothing half-written
    reason = "engines.json is missing beside it" if call == 2 else "not built"
    assert refusal(store, bundle, ORIN) == (folder / "detect.engine", reason)
    store.put(bundle, ORIN, "embed", PLAN, record("embed"))
    if call == 2:
        reason = "engines.json beside it has no record of it, so its build was cut short"
    assert refusal(store, bundle, ORIN) == (folder / "detect.engine", reason)
    assert store.put(bundle, ORIN, "detect", PLAN, record()) == store.check(bundle, "detect", ORIN)


def test_put_interrupted_between_engine_and_record(store, bundle, built, monkeypatch):
    with monkeypatch.context() as patch:
        failing_at(patch, "replace", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            store.put(bundle, ORIN, "detect", PLAN[::-1], record(plan=PLAN[::-1]))
    reason = f"altered since it was built: wanted sha256 {sha(PLAN)}, got {sha(PLAN[::-1])}"
    assert refusal(store, bundle, ORIN) == (built, reason)


def test_put_removes_leftovers_of_a_power_cut(store, bundle, built):
    left = built.with_name(".detect.engine.0123456789ab.part")
    left.write_bytes(PLAN[:100])
    assert [state.path for state in store.list_states(bundle, ORIN)] == [built]
    store.put(bundle, ORIN, "detect", PLAN, record())
    assert not left.exists()


# --- at once ---


def put_again_and_again(root, name, start):
    store, bundle = EngineStore(root), make_bundle()
    start.wait(60)
    for number in range(20):
        plan = f"{name} {number}".encode() * 1000
        store.put(bundle, ORIN, name, plan, record(name, plan))
        # A record that the other process read before and wrote after this put would not fit the new file.
        assert store.check(bundle, name, ORIN).read_bytes() == plan


def test_put_by_two_processes(tmp_path, bundle):
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    names = ("detect", "embed")
    processes = [spawn.Process(target=put_again_and_again, args=(tmp_path, name, start)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    store = EngineStore(tmp_path)
    assert [state.graph for state in store.list_states(bundle, ORIN) if state.valid] == list(names)
    assert sorted(listing(store.folder("nuts", ORIN))) == ["detect.engine", "embed.engine", "engines.json"]


def test_build_lock_is_exclusive_by_bundle_and_device(store, bundle):
    other = changed(ORIN, tensorrt="11.4.0")
    with store.build_lock(bundle, ORIN) as folder:
        assert folder == store.folder("nuts", ORIN)
        assert folder.is_dir()
        with pytest.raises(EngineError) as error, EngineStore(store.root).build_lock(bundle, ORIN):
            pass
        assert str(error.value) == f"{folder}: another build of these engines is under way; wait for it"
        with store.build_lock(bundle, other), store.build_lock(make_bundle(name="bolts"), ORIN):
            pass
        store.put(bundle, ORIN, "detect", PLAN, record())
    with pytest.raises(OSError, match="its own"), store.build_lock(bundle, ORIN):
        raise OSError("its own")  # what goes wrong inside is the builder's to tell
    with store.build_lock(bundle, ORIN):
        assert store.check(bundle, "detect", ORIN)
