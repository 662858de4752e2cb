"""A machine to open a bundle on: its GPU, its TensorRTs and its store."""

import ctypes
import logging
import shlex
import sys

import nanoseg
from nanoseg.backends import find_device as devices
from nanoseg.bundle import open_bundle
from nanoseg.engines import Device, EngineStore
from nanoseg.engines.recipe import read_recipe
from tests.backends.contract.backends import FAKES
from tests.data.fill_weights import image_u8
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt_plan import fake_plan, profile_of
from tests.fakes.tensorrt_runtime import fake_trt
from tests.helpers.engine_records import changed, record

IMAGE = image_u8(1, 120, 160)
DESKTOP = list(FAKES)[1]
FULL = Device("NVIDIA GeForce RTX 4090", (8, 9), "11.4.0", "tensorrt")
RTX = changed(FULL, tensorrt="1.7.1", kind="tensorrt-rtx")
LEAN = changed(FULL, tensorrt="11.5.0", kind="tensorrt-lean")
ELSEWHERE = changed(FULL, gpu="Orin 8GB", compute_capability=(8, 7), tensorrt="10.3.0")
GRAPHS = ("prepare", "detect", "embed", "segment")


class Machine:
    """A made-up GPU, the TensorRTs that are installed, and a store in a folder of its own."""

    def __init__(self, path, folder, monkeypatch):
        self.path, self.bundle, self.engines = path, open_bundle(path), folder
        self.store, self._patch = EngineStore(folder), monkeypatch
        self.cuda = FakeCuda().install(monkeypatch)
        self.calls = []  # TensorRTs that were loaded
        monkeypatch.setattr(devices, "find_spec", lambda name: None)
        for library in devices.LIBRARIES.values():
            monkeypatch.delitem(sys.modules, library.module, raising=False)
        look = devices._load_first
        monkeypatch.setattr(devices, "_load_first", lambda kinds: (self.calls.extend(kinds), look(kinds))[1])

    def install(self, *installed):
        for device in installed:
            fake_trt(self.cuda, device.tensorrt, device.kind).fake.install(self._patch)

    def put(self, device, names=GRAPHS, bundle=None, **got):
        """Made-up engines; gives the path of the last."""
        bundle = bundle or self.bundle
        for name in names:
            graph = bundle.graphs[name].built.path.read_bytes()
            profile = profile_of(graph, read_recipe(name).dimensions)
            plan = fake_plan(graph, profile, kind=device.kind, version=device.tensorrt, **got)
            made = record(name, plan, device, graph_sha256=bundle.graphs[name].built.sha256, **got)
            path = self.store.put(bundle, device, name, plan, made)
        return path

    def load(self, backend="auto"):
        return nanoseg.load(self.path, backend, engines=self.engines, confidence=0.2)


def alter(path):
    """Another content of the same size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def none_of_it(machine, backend="onnxruntime"):
    return f"tiny: runs on {backend}, as {machine.engines}, the folder of engines that was given, has none of it"


def info_command(machine):
    return shlex.join(["nanoseg", "info", str(machine.path), "--engines", str(machine.engines)])


def no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setattr(ctypes, "CDLL", missing)


def got(caplog):
    """What the logger of nanoseg was given."""
    found = [entry for entry in caplog.records if entry.name == "nanoseg"]
    assert all(entry.levelno == logging.WARNING and "\n" not in entry.getMessage() for entry in found)
    return [entry.getMessage() for entry in found]
