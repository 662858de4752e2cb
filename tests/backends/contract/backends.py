"""What runs a bundle in the contract suite: ONNX Runtime, made-up GPUs with a stand-in for TensorRT, and real ones.

What is not everywhere is imported where it is wanted: a machine with a GPU need not have it all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gpu_trial
import nanoseg
from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.cuda.driver import DeviceProperties
from nanoseg.backends.find_device import find_device
from nanoseg.bundle import Bundle, open_bundle
from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import EngineStore, Kind, Profile
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError, NanosegError
from tests.backends.contract.held import held_by
from tests.fakes.cuda import ORIN, FakeCuda, FakeDevice
from tests.fakes.pycuda import FakePycuda
from tests.helpers.engine_records import record

if TYPE_CHECKING:
    from tests.fakes.onnxruntime_gpu import FakeOrtGpu

# (device, TensorRT, its version, cuda-bindings, None for pycuda)
FAKES = {
    "tensorrt 10.3 on an Orin": (ORIN, "tensorrt", "10.3.0", "12.9"),
    "tensorrt 11.4": (FakeDevice(), "tensorrt", "11.4.0", "13"),
    "tensorrt for rtx": (FakeDevice(), "tensorrt-rtx", "1.7.1", "13"),
    "tensorrt with pycuda": (FakeDevice(), "tensorrt", "10.3.0", None),
}
REAL = pytest.param("real", marks=pytest.mark.gpu)
TORCH = pytest.param("torch", marks=pytest.mark.gpu)  # a real GPU that may have no TensorRT
ON_CUDA = "onnxruntime-cuda"
REAL_ON_CUDA = pytest.param(f"real {ON_CUDA}", marks=pytest.mark.gpu)
ALL = ["onnxruntime", ON_CUDA, *FAKES, REAL, TORCH, REAL_ON_CUDA]


@dataclass
class Backend:
    """One way to run a bundle."""

    name: str  # as nanoseg.load takes it
    bundle: Path | str
    engines: Path | None = None
    cuda: FakeCuda | None = None  # a made-up GPU
    trt: Any = None  # a made-up TensorRT
    ort: FakeOrtGpu | None = None  # a made-up onnxruntime-gpu

    def load(self, **settings: Any) -> nanoseg.Segmenter:
        return nanoseg.load(self.bundle, self.name, engines=self.engines, **settings)

    @property
    def on_gpu(self) -> bool:
        return self.name == "tensorrt"

    def memory(self, segmenter: nanoseg.Segmenter) -> Any:
        """What of a GPU is taken, and on a made-up one how often any ever was; None without one."""
        if self.cuda is not None:
            return dict(self.cuda.allocations), dict(self.cuda.alive)
        if self.ort is not None:
            return len(self.ort.alive)
        pipeline: Any = segmenter.pipeline
        return held_by(pipeline._resources.gpu) if self.on_gpu else None

    @contextmanager
    def failing(self, segmenter: nanoseg.Segmenter) -> Iterator[None]:
        """Graphs cannot be run inside of this."""
        if self.trt is not None:
            self.trt.fails["execute_async_v3"] = "Error Code 1: Cask"
            yield
            del self.trt.fails["execute_async_v3"]
            return
        if self.on_gpu:
            pytest.skip("nothing fails on a real GPU when it is wanted")

        def fail(feeds: object) -> None:
            raise EngineError("detect.onnx: failed")

        pipeline: Any = segmenter.pipeline
        detect, pipeline.engines["detect"] = pipeline.engines["detect"], fail
        yield
        pipeline.engines["detect"] = detect


@contextmanager
def backend(name: str, bundle: Path | str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """One of ALL; `folder` is for engines. At the end of a made-up one nothing may be misused or left over."""
    opened = open_bundle(bundle)
    if name == "onnxruntime":
        yield Backend(name, bundle)
    elif name == ON_CUDA:
        from tests.fakes.onnxruntime_gpu import FakeOrtGpu

        yield Backend(name, bundle, ort=FakeOrtGpu().install(monkeypatch))
    elif name == f"real {ON_CUDA}":
        from nanoseg.backends.onnxruntime.session import cuda_available

        if not cuda_available():
            pytest.skip("this ONNX Runtime has no CUDA provider")
        try:
            nanoseg.load(bundle, ON_CUDA).close()
        except EngineError as error:
            pytest.skip(str(error))
        yield Backend(ON_CUDA, bundle)
    elif name == "real":
        kind, why = tensorrt_here()
        if kind is None:
            pytest.skip(f"no engine can run here: {why}")
        folder /= "real"  # the made-up ones are of GPUs and versions that there are
        assert build(BuildOptions(bundle=str(bundle), target=kind, engines=folder)) == 0
        yield Backend("tensorrt", bundle, folder)
    elif name == "torch":
        if why := why_no_torch_here():
            pytest.skip(why)
        from torch_engine import CudaRunner, open_torch_pipeline

        runner = CudaRunner(gpu_trial.torch_capture_refusal())
        monkeypatch.setattr(
            "nanoseg.backends.tensorrt.pipeline.open.open_trt_pipeline",
            lambda one, _: open_torch_pipeline(one, open_gpu(), runner),
        )
        yield Backend("tensorrt", bundle, folder)
    else:
        board, kind, version, bindings = FAKES[name]
        if bindings is None:
            made: Any = FakePycuda(FakeCuda(board)).install(monkeypatch)
            sys.modules["pycuda"].__spec__ = ModuleSpec("pycuda", None)  # for whoever asks whether it is installed
            cuda = made.cuda
            # The stand-in for libcuda answers what the GPU's functions ask, not what it is.
            monkeypatch.setattr("nanoseg.backends.find_device._gpu_properties", lambda: DeviceProperties(*board))
        else:
            made = cuda = FakeCuda(board, version=bindings).install(monkeypatch)
        from tests.fakes.tensorrt_runtime import fake_trt

        trt = fake_trt(cuda, version, kind)
        trt.fake.install(monkeypatch)
        put_engines(opened, EngineStore(folder))
        yield Backend("tensorrt", bundle, folder, cuda, trt.fake)
        made.check()


def no_gpu() -> str:
    """Return why there is no GPU, before anything large is loaded."""
    try:
        with open_gpu():
            return ""
    except NanosegError as error:
        return f"no GPU: {error}"


@cache
def tensorrt_here() -> tuple[Kind | None, str]:
    """The TensorRT that computes on the GPU of this machine, or why none does."""
    if why := no_gpu():
        return None, why
    kind, refused = gpu_trial.find_tensorrt()
    return kind, "; ".join(f"{each}: {why}" for each, why in refused.items())


@cache
def why_no_torch_here() -> str:
    """Why the stand-in made of torch does not run on the GPU of this machine."""
    if why := no_gpu():
        return why
    return gpu_trial.torch_refusal() or ("" if find_spec("onnx") else "needs onnx")


def put_engines(bundle: Bundle, store: EngineStore) -> None:
    """Made-up engines of all graphs, for the made-up device that is there, as the recipes have them."""
    from tests.fakes.tensorrt_plan import MEMORY_BYTES, Plan

    device, why = find_device()
    assert device is not None, why
    for name, graph in bundle.graphs.items():
        plan = _plan(graph.built.path, name, device.kind, device.tensorrt)
        profiles = {each: Profile(*sides) for each, sides in Plan(plan).profile.items()}
        got = {"graph_sha256": graph.built.sha256, "profiles": profiles, "device_memory_bytes": MEMORY_BYTES}
        made = record(name, plan, device, **got)
        if not store.best_states(bundle, device)[name].valid:
            store.put(bundle, device, name, plan, made)


@cache
def _plan(path: Path, name: str, kind: str, version: str) -> bytes:
    import onnx

    from tests.fakes.tensorrt_plan import fake_plan, profile_of

    graph = onnx.load(path).SerializeToString()  # with weights that lie in another file
    return fake_plan(graph, profile_of(graph, read_recipe(name).dimensions), kind=kind, version=version)
