"""benchmarks/gpu_trial.py: which TensorRT computes, held on fake GPUs; and whether torch stands in for it."""

import io
import sys
from importlib.util import find_spec

import onnx
import pytest

import gpu_run
import gpu_trial
from gpu_run import Runner
from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.find_device import find_device
from nanoseg.backends.tensorrt.build.engine import BuildResult
from nanoseg.backends.tensorrt.int8_conv_graph import int8_conv_graph
from nanoseg.engines import NO_TENSORRT, Device
from nanoseg.errors import DependencyError, EngineError
from tests.backends.contract.backends import FAKES
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt_plan import fake_plan
from tests.fakes.tensorrt_platforms import FLOAT, graph_of
from tests.fakes.tensorrt_runtime import fake_trt

pytest.importorskip("torch", reason="needs nanoseg[export]")
from tests.fakes.torch_runner import FakeRunner

DESKTOP = "tensorrt 11.4"


@pytest.fixture
def install(monkeypatch):
    """A fake GPU and TensorRT, by their names in FAKES; gives the module."""

    def made(name):
        board, kind, version, bindings = FAKES[name]
        cuda = FakeCuda(board, version=bindings or "13").install(monkeypatch)
        return fake_trt(cuda, version, kind).fake.install(monkeypatch)

    return made


@pytest.fixture
def trial(install, monkeypatch):
    """Why the convolution does not run on a fake GPU; its plan does what `graph` says, and is of `version`."""

    def tried(name, graph=None, version=None, fails=None):
        module = install(name)
        fake = module.fake
        plan = fake_plan(graph or int8_conv_graph(), kind=fake.kind, version=version or fake.version)
        monkeypatch.setattr(gpu_trial, "build_engine", lambda *_, **__: BuildResult(plan, 0, None, {}))
        fake.fails |= fails or {}
        why = gpu_trial.refusal(fake.kind)
        fake.cuda.check()
        return why

    return tried


@pytest.mark.parametrize("name", FAKES)
def test_trial_accepts_tensorrt_that_computes(trial, name):
    assert trial(name) == ""


OTHER = graph_of({"x": (FLOAT, (1, 16, 32, 32))}, {"y": (FLOAT, (1, 16, 32, 32))}, [("Neg", ["x"], ["y"], {})])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"graph": OTHER}, "it computes wrong results: "),
        ({"version": "10.3.0"}, "a convolution: tensorrt 11.4.0 cannot load this engine: "),
        ({"fails": {"execute_async_v3": "Error Code 1:\nCask"}}, "a convolution: it cannot be run: "),
    ],
)
def test_trial_refuses_tensorrt_that_does_not(trial, given, why):
    got = trial(DESKTOP, **given)
    assert got.startswith(why)
    assert "\n" not in got


def test_trial_refuses_library_without_builder(monkeypatch):
    assert gpu_trial.refusal("tensorrt-lean") == NO_TENSORRT
    monkeypatch.setattr(gpu_trial, "find_device", lambda kind: (Device("GPU", (8, 9), "11.4.0", kind), ""))
    assert gpu_trial.refusal("tensorrt-lean") == "it builds no engines"


def test_trial_expands_int8_weights(monkeypatch):
    given = []

    def build(api, graph, recipe, **_):
        given.append(graph)
        if len(given) == 1:
            raise EngineError("a convolution: cannot be read: INT8 constants")
        return BuildResult(b"plan", 0, None, {})

    monkeypatch.setattr(gpu_trial, "build_engine", build)
    assert gpu_trial.build(None) == b"plan"
    weights = [[each.name for each in onnx.load_from_string(graph).graph.initializer] for graph in given]
    assert ["w_int8" in each for each in weights] == [True, False]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"tensorrt": ""}, "tensorrt"),
        ({"tensorrt": "broken", "tensorrt-rtx": ""}, "tensorrt-rtx"),
        ({"tensorrt": "not installed", "tensorrt-rtx": "no such GPU", "tensorrt-lean": "it builds no engines"}, None),
    ],
)
def test_find_tensorrt_returns_first_that_computes(monkeypatch, answers, kind):
    monkeypatch.setattr(gpu_trial, "try_in_subprocess", answers.__getitem__)
    refused = {each: why for each, why in answers.items() if why}
    assert gpu_trial.find_tensorrt() == (kind, refused)
    monkeypatch.setattr(gpu_run, "open_gpu", io.BytesIO)
    monkeypatch.setattr(gpu_trial, "torch_refusal", lambda: "")
    monkeypatch.setattr(gpu_run, "STAND_IN", ())
    assert gpu_run.find_runner("auto") == Runner(kind, refused)
    assert gpu_run.find_runner("torch") == Runner(None, {})
    if kind is None:
        with pytest.raises(EngineError, match="--engine tensorrt: tensorrt: not installed; tensorrt-rtx: no such GPU;"):
            gpu_run.find_runner("tensorrt")
        monkeypatch.setattr(gpu_trial, "torch_refusal", lambda: "torch sees no GPU")
        with pytest.raises(
            EngineError, match=r"nothing computes on this GPU: .*it builds no engines; torch sees no GPU"
        ):
            gpu_run.find_runner("auto")


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="needs nanoseg[rtx]")
def test_trial_in_subprocess():
    assert gpu_trial.try_in_subprocess("tensorrt-lean") == "not installed"
    before = set(sys.modules)
    why = gpu_trial.try_in_subprocess("tensorrt-rtx")
    assert "tensorrt_rtx" not in set(sys.modules) - before
    if wanted := find_device("tensorrt-rtx")[1]:  # there is no GPU
        assert why == wanted


def test_check_libraries_names_all_missing():
    with pytest.raises(DependencyError) as error:
        gpu_run.check_libraries("the fake", ("onnx", "no_such", "nor_such"))
    assert str(error.value) == 'the fake needs no_such, nor_such: pip install "nanoseg[export,eval]"'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("raise OSError('libcudart.so.13: cannot open\\nshared object')", "torch does not start: libcudart.so.13: "),
        ("raise ModuleNotFoundError(name='torch')", 'torch is not installed: pip install "nanoseg[export]"'),
        ("class cuda:\n    is_available = staticmethod(bool)", "torch sees no GPU"),
    ],
)
def test_torch_refusal(tmp_path, monkeypatch, content, why):
    (tmp_path / "torch.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    real = sys.modules.pop("torch", None)
    try:
        got = gpu_trial.torch_refusal()
    finally:
        sys.modules.pop("torch", None)
        if real is not None:
            sys.modules["torch"] = real
    assert got.startswith(why)
    assert "\n" not in got


class CapturedRunner(FakeRunner):
    """Torch on a fake GPU; what it does in a capture is `capturing`'s."""

    def __init__(self, cuda, capturing):
        super().__init__(cuda)
        self._capturing = capturing

    def enqueue(self, handle, work, reads, writes):
        if self._cuda.captures:
            work = self._capturing(work)
        super().enqueue(handle, work, reads, writes)


def refuse(work):
    raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")


def forget(work):
    return lambda tensor: None


@pytest.mark.parametrize(
    ("capturing", "why"),
    [
        (lambda work: work, ""),
        (refuse, "CUDA error: operation not permitted when stream is capturing"),
        (forget, "a capture computes"),
    ],
)
def test_trial_of_torch_in_a_capture(monkeypatch, capturing, why):
    cuda = FakeCuda().install(monkeypatch)
    with open_gpu() as gpu:
        got = gpu_trial.capture_refusal(gpu, CapturedRunner(cuda, capturing))
    assert got.startswith(why)
    assert bool(got) == bool(why)
    cuda.check()


def test_trial_of_torch_in_a_capture_without_gpu(monkeypatch):
    assert gpu_trial.torch_capture_refusal()  # in a process of its own, which ends with a line
