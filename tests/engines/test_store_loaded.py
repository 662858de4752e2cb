"""What is loaded is what was verified."""

import os

import pytest

from nanoseg.engines import store as store_module
from nanoseg.engines import validity
from tests.helpers.engine_records import ORIN, PLAN, changed, record, refusal, sha


def test_load_returns_the_bytes_that_were_verified(store, bundle, built, monkeypatch):
    """A file is read once: there is no moment in which it could be another."""
    opened = []
    really = os.open
    monkeypatch.setattr(os, "open", lambda path, *given, **more: (opened.append(path), really(path, *given, **more))[1])
    assert store.load(bundle, "detect", ORIN) == (PLAN, record())
    assert opened.count(built) == 1
    opened.clear()
    assert store.check(bundle, "detect", ORIN) == built
    assert built not in opened


def test_load_refuses_altered_engine(store, bundle, built):
    other = bytes([1]) + PLAN[1:]
    built.write_bytes(other)
    assert store.check(bundle, "detect", ORIN) == built  # its size is right
    assert refusal(store, bundle, ORIN) == (
        built,
        f"altered since it was built: wanted sha256 {sha(PLAN)}, got {sha(other)}",
    )


def test_load_falls_back_to_the_next_best(store, bundle):
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
    path, reason = refusal(store, bundle, here)
    assert path == paths[here]
    assert reason.startswith("altered since it was built: wanted sha256")


@pytest.mark.parametrize("anew", [PLAN[::-1], PLAN[:-1], PLAN + b"1"], ids=["same size", "shorter", "longer"])
def test_load_while_another_process_puts(anew, store, bundle, built, monkeypatch):
    """Between the reading of the records and that of the file."""
    really, put = store_module.read_records, []

    def read(folder):
        records = really(folder)
        if not put:
            put.append(True)
            store.put(bundle, ORIN, "detect", anew, record(plan=anew))
        return records

    monkeypatch.setattr(store_module, "read_records", read)
    assert store.load(bundle, "detect", ORIN) == (anew, record(plan=anew))


def test_load_holds_one_plan_at_a_time(store, bundle, built, monkeypatch):
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
    really = validity.read_regular
    monkeypatch.setattr(validity, "read_regular", lambda *given: Plan(really(*given)))
    for name in ("detect", "embed"):
        assert store.load(bundle, name, ORIN)[0] == PLAN
    assert (most, alive) == ([1, 1, 1, 1], [])  # the one that was refused was read again
