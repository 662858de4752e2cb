"""The real cuda-bindings, 12.9 and 13, and the real pipeline on a stub of the driver: order, lifetimes, and refusals.

tests/fakes/cuda.py takes the place of the bindings, in the same process and in every test of the pipeline. The stub
stands below them: it takes what they hand to a driver.
"""

import json
import subprocess
import sys

import pytest

from nanoseg.errors import DependencyError
from stub_driver import ROOT, build_stub, environment
from tests.backends.contract.conftest import tiny  # noqa: F401
from tests.stub_libcuda.trace import Trace

BINDINGS = {12: "12.9", 13: "13"}
NORMAL, HIGHEST = 0, -5  # priorities of streams
WITHOUT_TIMING, BLOCKING, SPIN = 2, 1, 1  # flags of events and contexts


@pytest.fixture(scope="session")
def stub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stub")
    try:
        build_stub(folder)
    except DependencyError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture(params=BINDINGS, ids=[f"bindings {version}" for version in BINDINGS.values()])
def on_stub(request, stub, tmp_path):
    """Call a function of process.py on the stub; returns its result and the trace."""

    def call(*arguments, **settings):
        path = tmp_path / "trace"
        try:
            variables = environment(stub, request.param, trace=path, **{"version": request.param * 1000, **settings})
        except DependencyError as error:
            pytest.skip(str(error))
        command = [sys.executable, "-W", "error", "-m", "tests.stub_libcuda.process", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert not done.returncode, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), Trace(path)

    call.bindings = request.param
    return call


def test_stub_gpu_laws(on_stub):
    found, trace = on_stub("laws")
    assert {name: why for name, why in found.items() if why} == {}
    assert len(found) > 15
    assert not [each for each in trace.faults if not each.startswith("race")]  # laws read what they do not wait for


def test_stub_pipeline(on_stub, tiny):  # noqa: F811
    found, trace = on_stub("pipeline", tiny)
    assert found == {"wrong": [], "not_captured": {}}
    assert trace.faults == []
    assert trace.priorities == {1: NORMAL, 2: HIGHEST, 3: NORMAL, 4: HIGHEST}  # copy, detect, embed, masks
    # Nothing is made once it is warm, and each graph does the same on the same addresses each time.
    assert trace.made_at["prompts"] == trace.made_at["warm"]
    assert sum(len(launches) > 10 for launches in trace.launches.values()) >= 4
    for launches in trace.launches.values():
        assert launches[0]
        assert all(launch == launches[0] for launch in launches)


@pytest.mark.parametrize("function", ["cuStreamCreateWithPriority", "cuGraphLaunch", "cuMemHostAlloc", "cuEventRecord"])
def test_stub_driver_without_a_function(on_stub, function):
    found, trace = on_stub("open", missing=function)
    if function == "cuMemHostAlloc":  # nothing needs it here
        assert found == "opened Orin 8GB by cuda-bindings"
        assert trace.priorities == {1: HIGHEST}
    else:
        cuda = f"{on_stub.bindings}.0"
        assert found.startswith(f"{function}: not found: this machine's driver, for CUDA {cuda}, does not have it")
        assert "\n" not in found
    assert trace.faults == []


@pytest.mark.parametrize(
    ("wait", "events", "context"),
    [
        ("auto", WITHOUT_TIMING, []),
        ("spin", WITHOUT_TIMING, [SPIN]),
        ("block", WITHOUT_TIMING | BLOCKING, []),
    ],
)
def test_stub_way_of_waiting(on_stub, wait, events, context):
    found, trace = on_stub("open", wait)
    assert found == "opened Orin 8GB by cuda-bindings"
    assert (list(trace.event_flags), trace.context_flags) == ([events], context)
    assert trace.faults == []


@pytest.mark.parametrize(("version", "refused_by"), [(12020, (13,)), (11080, (12, 13))])
def test_stub_driver_older_than_the_bindings(on_stub, version, refused_by):
    found, trace = on_stub("open", version=version)
    if on_stub.bindings not in refused_by:
        assert found == "opened Orin 8GB by cuda-bindings"
    else:
        advice = 'pip install "nanoseg[cuda12]"' if version >= 12000 else "install a newer driver"
        driver = f"{version // 1000}.{version % 1000 // 10}"
        assert found == (
            f"cuda-bindings is for CUDA {on_stub.bindings}, but this machine's driver for CUDA {driver}: {advice}"
        )
    assert trace.faults == []
