"""Which library the GPU is reached through, what is missing, and pycuda: on tests/fakes/pycuda.py."""

import ast
import ctypes
import gc
import json
import re
import sys
import types
from pathlib import Path

import pytest

from nanoseg.backends.cuda import calls as cuda_calls
from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import DependencyError, EngineError, UsageError
from tests.backends.cuda import laws
from tests.fakes.cuda import FakeCuda
from tests.fakes.pycuda import FakePycuda
from tests.helpers.paths import DATA

CUDA = Path(cuda_calls.__file__).parent
LISTS = DATA / "cuda-api"


@pytest.fixture
def pycuda(monkeypatch):
    """A machine with one GPU, pycuda, and no cuda-bindings."""
    fake = FakePycuda(FakeCuda()).install(monkeypatch)
    yield fake
    if fake.cuda.alive:  # a test that failed, or was to fail, still holds something in its traceback
        gc.collect()
    fake.check()


@pytest.mark.parametrize("name", [name for name in laws.ALL if name not in laws.GRAPHS])
def test_pycuda_laws(name, pycuda):
    with open_gpu("pycuda") as gpu:
        assert not gpu.supports_graphs
        laws.ALL[name](gpu)
    assert not pycuda.cuda.stack()


def test_pycuda_has_no_graphs(pycuda):
    with open_gpu("pycuda") as gpu, gpu.stream() as stream, gpu.event() as event:
        with pytest.raises(EngineError, match="pycuda captures no graphs"), stream.capture():
            pass
        with pytest.raises(EngineError, match="pycuda captures no graphs"):
            event.record(stream, external=True)


def test_open_gpu_provider(monkeypatch):
    FakeCuda().install(monkeypatch)
    with pytest.raises(UsageError, match="provider: wanted one of auto, cuda-bindings, pycuda, got cupy"):
        open_gpu("cupy")
    with open_gpu("auto") as gpu:
        assert gpu.provider == "cuda-bindings"
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    message = r'^pycuda is not installed: pip install "nanoseg\[pycuda\]", or pip install "nanoseg\[cuda12\]"'
    with pytest.raises(DependencyError, match=message):
        open_gpu("pycuda")


def test_open_gpu_falls_back_to_pycuda(pycuda, monkeypatch):
    monkeypatch.setattr("nanoseg.backends.cuda.gpu.find_spec", lambda name: name)
    with open_gpu() as gpu:
        assert gpu.provider == "pycuda"
    with pytest.raises(DependencyError, match="cuda-bindings"):
        open_gpu("cuda-bindings")


def test_pycuda_current_context_is_used(pycuda):
    pycuda.module.init()
    context = pycuda.module.Device(0).retain_primary_context()
    context.push()
    with open_gpu("pycuda") as gpu:
        laws.ALL["what_goes_in_comes_out"](gpu)
    assert pycuda.stack() == [context]
    context.pop()
    pycuda.cuda.module.cuDevicePrimaryCtxRelease(0)


def test_pycuda_beside_torch(pycuda):
    """The primary context, which torch has made current, is shared."""
    cuda = pycuda.cuda
    cuda.module.cuInit(0)
    theirs = cuda.module.cuDevicePrimaryCtxRetain(0)[1]
    cuda.module.cuCtxSetCurrent(theirs)
    with open_gpu("pycuda") as gpu:
        laws.ALL["another_thread_can_use_it"](gpu)
    assert cuda.stack() == [int(theirs)]
    cuda.module.cuDevicePrimaryCtxRelease(0)


def test_pycuda_refuses_foreign_context(pycuda):
    context = pycuda.cuda.create_context()
    with pytest.raises(EngineError, match="pycuda cannot use the CUDA context of another library: pip install"):
        open_gpu("pycuda")
    pycuda.cuda.retained.clear()
    assert pycuda.cuda.stack() == [context]


@pytest.mark.parametrize(
    ("loads", "error", "match"),
    [
        (
            ModuleNotFoundError("No module named 'cuda'", name="cuda"),
            DependencyError,
            r'^cuda-bindings is not installed: pip install "nanoseg\[cuda12\]" for CUDA 12, "nanoseg\[cuda13\]" for',
        ),
        (
            ImportError("GLIBC_2.38\nnot found"),
            DependencyError,
            "^cuda-bindings cannot be loaded: GLIBC_2.38 not found$",
        ),
        (
            FakeCuda(driver_version=12060, version="13"),
            EngineError,
            r'for CUDA 13, .* CUDA 12\.6: pip install "nanoseg\[cuda12\]"$',
        ),
    ],
)
def test_open_gpu_missing_library(loads, error, match, monkeypatch):
    def import_module(name):
        if isinstance(loads, Exception):
            raise loads
        return loads.module

    monkeypatch.setattr(cuda_calls, "importlib", types.SimpleNamespace(import_module=import_module))
    monkeypatch.setattr("nanoseg.backends.cuda.gpu.find_spec", lambda name: None)
    with pytest.raises(error, match=match):
        open_gpu()


@pytest.mark.parametrize("driver_version", [12090, 13020])
def test_open_gpu_newer_driver(driver_version, monkeypatch):
    FakeCuda(driver_version=driver_version).install(monkeypatch)
    open_gpu().close()


def test_open_gpu_without_gpu(monkeypatch):
    fake = FakeCuda().install(monkeypatch)
    fake.fails["cuInit"] = "NO_DEVICE"
    with pytest.raises(
        EngineError, match="no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE; see nanoseg d"
    ):
        open_gpu()
    fake.fails["cuInit"] = "UNKNOWN"
    with pytest.raises(EngineError, match="CUDA_ERROR_UNKNOWN"):
        open_gpu()


def test_driver_error_unknown_to_the_bindings(monkeypatch):
    fake = FakeCuda().install(monkeypatch)
    with open_gpu() as gpu:
        with monkeypatch.context() as patch:

            def answer(*_):
                raise ValueError("999 is not a valid CUresult")

            patch.setattr(fake.module, "cuMemAlloc", answer)
            with pytest.raises(EngineError, match=r"^cuMemAlloc: 999 is not a valid CUresult: newer than these"):
                gpu.device_buffer(8)
        gpu.device_buffer(8).close()


def test_open_gpu_without_driver(monkeypatch):
    fake = FakeCuda().install(monkeypatch)

    def fail(flags):
        raise RuntimeError("Failed to dlopen\nlibcuda.so.1")

    monkeypatch.setattr(fake.module, "cuInit", fail)
    with pytest.raises(EngineError, match="no CUDA driver on this machine: Failed to dlopen libcuda"):
        open_gpu()


def test_pycuda_without_driver(pycuda, monkeypatch):
    def fail(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(EngineError, match="no NVIDIA driver: libcuda cannot be loaded"):
        open_gpu("pycuda")


# The real libraries' names.


def called():
    """{(function, how many arguments)} that is called by name, and {enum: members} that they take."""
    functions, attributes = set(), set()
    for path in CUDA.glob("*.py"):
        if path.name == "pycuda.py":
            continue
        tree = ast.parse(path.read_text())
        # libcuda itself has other names.
        tree.body = [node for node in tree.body if getattr(node, "name", "") != "LibcudaCalls"]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and re.fullmatch(r"cu[A-Z]\w+", str(node.value)):
                functions.add(node.value)
            if isinstance(node, ast.Attribute) and node.attr.startswith(("CU", "cu")):
                attributes.add(node.attr)
    return functions, attributes


@pytest.mark.parametrize("version", ["12.9", "13"])
def test_bindings_names_exist(version):
    real = json.loads((LISTS / f"{version}.json").read_text())
    functions, attributes = called()
    assert {"cuMemAlloc", "cuStreamBeginCapture"} <= functions
    assert functions <= set(real["functions"])
    members = {member for enum in real["enums"].values() for member in enum}
    assert {"CUevent_flags", "CU_EVENT_RECORD_EXTERNAL", "CUDA_SUCCESS", "cuPointerGetAttribute"} <= attributes
    assert attributes <= {*real["functions"], *real["enums"], *members, *real["others"]}


def test_pycuda_names_exist():
    real = json.loads((LISTS / "pycuda.json").read_text())
    tree = ast.parse((CUDA / "pycuda.py").read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "_api"
    }
    assert {"Context", "mem_alloc", "Error"} <= used
    assert used <= {*real["functions"], *real["classes"], *real["errors"]}
