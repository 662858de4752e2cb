"""Which GPU and TensorRT a machine has, with stand-ins for both libraries."""

import ctypes
import enum
import importlib
import sys
import types

import pytest

from nanoseg.backends import device
from nanoseg.backends.cuda import calls as cuda_calls
from nanoseg.store import Device, Store
from tests.engine_records import PLAN, changed, make_bundle, record
from tests.test_doctor_probe import Driver as Libcuda

GIB = 1 << 30


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803


class CUdevice_attribute(enum.IntEnum):  # noqa: N801
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 18
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class Driver(types.ModuleType):
    """cuda.bindings.driver, with GPUs (name, compute capability, integrated, memory); `fails` is {function: code}."""

    CUresult, CUdevice_attribute = CUresult, CUdevice_attribute

    def __init__(self, *gpus, current=None, fails=()):
        super().__init__("cuda.bindings.driver")
        self.gpus, self.current, self.fails, self.started = gpus, current, dict(fails), False

    def _answer(self, function, *values):
        assert self.started or function == "cuInit"
        code = self.fails.get(function, CUresult.CUDA_SUCCESS)
        return (code, *(value if code == 0 else None for value in values))

    def cuInit(self, flags):  # noqa: N802
        assert flags == 0
        self.started = True
        return self._answer("cuInit")

    def cuCtxGetDevice(self):  # noqa: N802
        if self.current is None:
            return CUresult.CUDA_ERROR_INVALID_CONTEXT, None
        return self._answer("cuCtxGetDevice", self.current)

    def cuDeviceGet(self, ordinal):  # noqa: N802
        return self._answer("cuDeviceGet", ordinal)

    def cuDeviceGetName(self, length, gpu):  # noqa: N802
        # The binding makes a buffer of blanks; CUDA ends the name in it with a zero.
        return self._answer("cuDeviceGetName", (self.gpus[gpu][0].encode() + b"\0").ljust(length, b" "))

    def cuDeviceGetAttribute(self, attribute, gpu):  # noqa: N802
        _, (major, minor), integrated, _ = self.gpus[gpu]
        return self._answer("cuDeviceGetAttribute", {75: major, 76: minor, 18: int(integrated)}[attribute])

    def cuDeviceTotalMem(self, gpu):  # noqa: N802
        return self._answer("cuDeviceTotalMem", self.gpus[gpu][3])


ORIN = ("Orin", (8, 7), True, 7_987_728_384)
ADA = ("NVIDIA GeForce RTX 4090", (8, 9), False, 25 * GIB)


@pytest.fixture
def machine(monkeypatch):
    """A machine with these TensorRTs, {module: version or what its import raises}, and this CUDA driver."""

    def make(tensorrts, driver):
        def find_spec(name):
            return name if name in tensorrts else None

        def import_module(name):
            found = driver if name == "cuda.bindings.driver" else tensorrts[name]
            if isinstance(found, Exception):
                raise found
            return found if isinstance(found, Driver) else types.SimpleNamespace(__version__=found)

        for name in device.LIBRARIES:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(device, "find_spec", find_spec)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda())
        for module in (device, cuda_calls):
            monkeypatch.setattr(module, "importlib", types.SimpleNamespace(import_module=import_module))

    return make


@pytest.mark.parametrize(
    ("tensorrts", "driver", "wanted"),
    [
        ({"tensorrt": "10.3.0"}, Driver(ORIN), Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt")),
        ({"tensorrt_rtx": "1.7.1.27"}, Driver(ADA), Device(ADA[0], (8, 9), "1.7.1.27", "tensorrt_rtx")),
        ({"tensorrt_lean": "10.13.0"}, Driver(ADA), Device(ADA[0], (8, 9), "10.13.0", "tensorrt_lean")),
        (
            {"tensorrt_lean": "10.13.0", "tensorrt_rtx": "1.7.1", "tensorrt": "10.3.0"},
            Driver(ADA),
            Device(ADA[0], (8, 9), "10.3.0", "tensorrt"),
        ),
        # Broken, as the Python part alone is.
        (
            {"tensorrt": ImportError("libnvinfer.so.10: no such file"), "tensorrt_rtx": "1.7.1"},
            Driver(ADA),
            Device(ADA[0], (8, 9), "1.7.1", "tensorrt_rtx"),
        ),
        # A context that is current says which.
        ({"tensorrt": "10.3.0"}, Driver(ADA, ORIN, current=1), Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt")),
    ],
)
def test_what_is_here(tensorrts, driver, wanted, machine):
    machine(tensorrts, driver)
    assert device.look_for_device() == (wanted, "")


@pytest.mark.parametrize(
    ("told", "size"),
    [
        (int(3.3 * GIB), 4),
        (7_693_115_392, 8),
        (8 * GIB, 8),
        (8 * GIB + 1, 16),
        (16_136_011_776, 16),
        (int(29.9 * GIB), 32),
        (65_893_269_504, 64),
        (int(122.8 * GIB), 128),
        (GIB // 2, 1),
    ],
)
def test_boards_that_share_a_name_are_told_apart_by_their_memory(told, size, machine):
    machine({"tensorrt": "10.3.0"}, Driver(("Orin", (8, 7), True, told)))
    assert device.look_for_device()[0].gpu == f"Orin {size}GB"


NO_GPU = CUresult.CUDA_ERROR_NO_DEVICE
UNKNOWN = "the GPU is not known, as cuda-bindings "


@pytest.mark.parametrize(
    ("tensorrts", "driver", "why"),
    [
        ({}, Driver(ADA), "no TensorRT on this machine"),
        (
            {"tensorrt": ImportError("libnvinfer.so.10:\nno such file"), "tensorrt_lean": RuntimeError()},
            Driver(ADA),
            "tensorrt cannot be loaded: libnvinfer.so.10: no such file; tensorrt_lean cannot be loaded: RuntimeError",
        ),
        (
            {"tensorrt": "10.3.0"},
            ModuleNotFoundError("No module named 'cuda'", name="cuda"),
            f'{UNKNOWN}is not installed: pip install "nanoseg[cuda12]" for CUDA 12, "nanoseg[cuda13]" for CUDA 13',
        ),
        (
            {"tensorrt": "10.3.0"},
            ModuleNotFoundError("No module named 'cuda.pathfinder'", name="cuda.pathfinder"),
            f"{UNKNOWN}cannot be loaded: No module named 'cuda.pathfinder'",
        ),
        ({"tensorrt": "10.3.0"}, ImportError("GLIBC_2.38"), f"{UNKNOWN}cannot be loaded: GLIBC_2.38"),
        (
            {"tensorrt": "10.3.0"},
            Driver(fails={"cuInit": NO_GPU}),
            "no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE",
        ),
        *(
            (
                {"tensorrt": "10.3.0"},
                Driver(ORIN, fails={function: CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH}),
                f"no GPU that CUDA can use: {function} answers CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            )
            for function in ("cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDeviceTotalMem")
        ),
    ],
)
def test_what_is_missing(tensorrts, driver, why, machine):
    machine(tensorrts, driver)
    assert device.look_for_device() == (None, why)


def test_bindings_without_a_driver(machine, monkeypatch):
    """What cuda-bindings 12.9 raises where there is no libcuda; 13's is a RuntimeError of its own."""
    driver = Driver(ADA)

    def fail(flags):
        raise RuntimeError("Failed to dlopen\nlibcuda.so.1")

    monkeypatch.setattr(driver, "cuInit", fail)
    machine({"tensorrt": "10.3.0"}, driver)
    why = "no CUDA driver on this machine: Failed to dlopen libcuda.so.1"
    assert device.look_for_device() == (None, why)


def test_bindings_that_would_mend_nothing(machine, monkeypatch):
    machine({"tensorrt": "10.3.0"}, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda(starts=100))
    assert device.look_for_device() == (None, "no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE")

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert device.look_for_device() == (None, "no NVIDIA driver: libcuda cannot be loaded")


def test_with_pycuda_alone_the_driver_itself_is_asked(machine, monkeypatch):
    machine({"tensorrt": "10.3.0", "pycuda": "2026.1"}, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    assert device.look_for_device() == (Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt"), "")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda(starts=100))
    assert device.look_for_device() == (None, "no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE")


@pytest.mark.parametrize(
    ("driver", "wanted"),
    [
        (Driver(ORIN), (("Orin 8GB", (8, 7)), "", True)),
        (Driver(ADA, ORIN, current=1), (("Orin 8GB", (8, 7)), "", True)),
        (
            Driver(fails={"cuInit": NO_GPU}),
            (None, "no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE", True),
        ),
        # Neither cuda-bindings nor pycuda is wanted to know the GPU.
        (ModuleNotFoundError("No module named 'cuda'", name="cuda"), (("Orin 8GB", (8, 7)), "", True)),
    ],
)
def test_the_gpu_is_asked_without_tensorrt(driver, wanted, machine):
    machine({"tensorrt": AssertionError("it is loaded")}, driver)
    assert device.look_for_gpu() == wanted


def test_a_machine_without_a_driver(machine, monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    machine({}, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert device.look_for_gpu() == (None, "no NVIDIA driver: libcuda cannot be loaded", False)


def test_this_machine_whatever_it_has():
    found, why = device.look_for_device()
    assert (found is None) == bool(why)
    assert "\n" not in why


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx", "tensorrt_lean"])
def test_libraries_that_python_finds_by_itself(name, tmp_path, monkeypatch):
    """Real imports: a package that is there, a folder of its name that is none, and nothing."""
    for each in device.LIBRARIES:
        monkeypatch.setitem(sys.modules, each, None)  # so that what is imported here is gone afterwards
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert device.look_for_device() == (None, "no TensorRT on this machine")
    (tmp_path / name).mkdir()
    importlib.invalidate_caches()
    found, why = device.look_for_device()
    assert found is None
    assert why.startswith(f"{name} cannot be loaded: ")
    monkeypatch.delitem(sys.modules, name)
    (tmp_path / name / "__init__.py").write_text("__version__ = '1.2.3'\n")
    assert device._tensorrt() == (name, "1.2.3")


# Of several TensorRTs the one that a bundle's engines are for.

HERE = {
    "tensorrt": Device("Orin 8GB", (8, 7), "10.3.0"),
    "tensorrt_rtx": Device("Orin 8GB", (8, 7), "1.7.1", "tensorrt_rtx"),
    "tensorrt_lean": Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt_lean"),
}
FULL, RTX, LEAN = HERE.values()
OLDER, ANOTHER = changed(FULL, tensorrt="10.1.0"), changed(RTX, gpu="Another")
GRAPHS = ("prepare", "detect", "embed", "segment")


@pytest.mark.parametrize(
    ("installed", "built", "wanted", "loaded"),
    [
        ((FULL, RTX), {}, FULL, ["first"]),
        ((RTX,), {}, RTX, ["first"]),
        ((FULL, RTX), {FULL: GRAPHS}, FULL, ["tensorrt"]),
        ((FULL, RTX), {RTX: GRAPHS}, RTX, ["tensorrt_rtx"]),
        ((FULL, RTX), {FULL: GRAPHS, RTX: GRAPHS}, FULL, ["tensorrt"]),
        ((FULL, RTX), {OLDER: GRAPHS, RTX: GRAPHS}, RTX, ["tensorrt", "tensorrt_rtx"]),
        ((FULL, RTX), {FULL: GRAPHS[:1], RTX: GRAPHS[:2]}, RTX, ["tensorrt", "tensorrt_rtx", "tensorrt_lean"]),
        ((FULL, RTX), {FULL: GRAPHS[:2], RTX: GRAPHS[:2]}, FULL, ["tensorrt", "tensorrt_rtx", "tensorrt_lean"]),
        ((FULL, RTX), {FULL: GRAPHS[:1], ANOTHER: GRAPHS}, FULL, ["tensorrt", "tensorrt_rtx", "tensorrt_lean"]),
        # What the engines are for is not here any more.
        ((FULL,), {RTX: GRAPHS}, FULL, ["tensorrt_rtx", "first"]),
        ((LEAN,), {FULL: GRAPHS}, LEAN, ["tensorrt", "tensorrt_lean"]),
        ((), {FULL: GRAPHS}, None, ["tensorrt", "tensorrt_lean", "first", "first"]),
    ],
)
def test_the_tensorrt_that_engines_are_for(installed, built, wanted, loaded, tmp_path, monkeypatch):
    bundle, store, asked = make_bundle(), Store(tmp_path), []
    for here, names in built.items():
        for name in names:
            store.put(bundle, here, name, PLAN, record(name, device=here))

    def look(kind=None):
        asked.append(kind or "first")
        found = HERE.get(kind) if kind else next(iter(installed), None)
        return (found, "") if found in installed else (None, "nothing")

    monkeypatch.setattr(device, "look_for_device", look)
    for path in tmp_path.rglob("*.engine"):
        path.write_bytes(PLAN[::-1])  # what is in them is not looked at
    assert device.device_for(bundle, store) == (wanted, "" if wanted else "nothing")
    assert asked == loaded


def test_engines_without_a_record_may_be_of_any(tmp_path, monkeypatch):
    bundle, store = make_bundle(), Store(tmp_path)
    path = store.put(bundle, RTX, "detect", PLAN, record(device=RTX))
    path.with_name("engines.json").write_text("damaged")
    monkeypatch.setattr(device, "look_for_device", lambda kind=None: (HERE[kind or "tensorrt"], ""))
    assert list(device.devices_for(store.all(bundle, None))) == [FULL, RTX, LEAN]
    assert device.device_for(bundle, store) == (RTX, "")  # the folder's name tells
