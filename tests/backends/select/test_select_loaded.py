"""What is loaded, and what is left of what cannot be."""

import gc
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

import nanoseg
from nanoseg.engines import EngineStore
from nanoseg.errors import EngineError
from tests.backends.select.machine import FULL, GRAPHS, IMAGE, RTX, alter


@pytest.mark.parametrize("name", ["auto", "tensorrt"])
def test_select_each_engine_is_read_once(name, machine, monkeypatch):
    machine.install(FULL, RTX)
    machine.put(FULL)
    opened, really = Counter(), os.open

    def count(path, *args, **kwargs):
        opened[Path(path).name] += Path(path).suffix == ".engine"
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", count)
    machine.load(name).close()
    assert +opened == {f"{graph}.engine": 1 for graph in GRAPHS}


@pytest.mark.parametrize("damage", [alter, Path.unlink])
def test_select_refuses_an_engine_that_changes_after_the_check(damage, machine, monkeypatch):
    machine.install(FULL)
    machine.put(FULL)
    really = EngineStore.check

    def check(store, bundle, name, device):
        path = really(store, bundle, name, device)
        if name == GRAPHS[-1]:
            damage(path.with_name("detect.engine"))
        return path

    monkeypatch.setattr(EngineStore, "check", check)
    with pytest.raises(EngineError, match=r"detect\.engine: (altered since it was built|the file is missing).*; build"):
        machine.load("tensorrt")
    assert not machine.cuda.alive


def test_select_reports_a_missing_engine_before_loading_any(machine):
    machine.install(FULL)
    machine.put(FULL, GRAPHS[:3])
    with pytest.raises(EngineError, match=r"segment\.engine: not built"):
        machine.load("tensorrt")
    assert not sys.modules["tensorrt"].fake.calls
    assert not machine.cuda.allocations


@pytest.mark.parametrize("what", ["memory", "engine", "context"])
def test_select_frees_everything_where_opening_fails(on, what):
    with on() as run:
        if what == "memory":
            run.cuda.fails["cuMemAlloc"] = "OUT_OF_MEMORY"
        else:
            function = {"engine": "deserialize_cuda_engine", "context": "create_execution_context"}[what]
            run.trt.fails[function] = "Error Code 2: OutOfMemory"
        # Valid engines that cannot run are no reason to go on without, in auto neither.
        for name in ("tensorrt", "auto"):
            with pytest.raises(EngineError) as error:
                nanoseg.load(run.bundle, name, engines=run.engines)
            assert "\n" not in str(error.value)
            assert str(error.value).endswith("; --backend onnxruntime runs the bundle without") == (name == "auto")
        run.cuda.fails.clear()
        run.trt.fails.clear()
        del error
        gc.collect()
        assert not run.cuda.alive
        with run.load(confidence=0.2) as segmenter:
            assert len(segmenter(IMAGE)) > 3
