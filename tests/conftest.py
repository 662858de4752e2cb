"""Fixtures and settings that all tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

# A fixture of the networks at their real sizes; and files that want a library which is not here are skipped.
pytest_plugins = ("tests.helpers.full_size", "tests.helpers.missing_libraries")


# What is compared with float32 to its last digits is computed in it: NVIDIA's libraries would take TF32 on a GPU.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
# Some tests import ONNX Runtime before nanoseg, which would set this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Libraries start a thread for each CPU they see: each of pytest-xdist's processes sees its share.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    count, cpus = int(os.environ["PYTEST_XDIST_WORKER_COUNT"]), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[int(worker.removeprefix("gw")) :: count] or cpus)
# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What wants networks of their real sizes takes minutes, as these are exported first."""
    for item in items:
        if "full_size_networks" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept for this user goes into a folder of the tests', from processes that they start, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("users_cache")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("users_data")))
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The small golden files that travel with the project."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The large reference folder beside a developer's checkout; its tests are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip("needs the reference folder ../shared, which is not beside this checkout")
    return folder


@pytest.fixture
def call(capfd):
    """Run one command line: exit code, stdout, stderr."""

    from nanoseg.cli import run_command

    def do(*arguments):
        code = run_command([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return do
