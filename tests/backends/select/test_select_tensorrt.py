"""Which engines are taken, of which TensorRT, and which of them the error is about."""

import shlex

import pytest

from nanoseg.errors import EngineError
from tests.backends.select.machine import ELSEWHERE, FULL, GRAPHS, IMAGE, LEAN, RTX, alter, got
from tests.helpers.engine_records import changed


def whole(*built):
    return lambda machine: [machine.put(device) for device in built]


def full_lacks_one(machine):
    machine.put(FULL, GRAPHS[:3])
    machine.put(RTX)


def full_is_older(machine):
    machine.put(changed(FULL, tensorrt="11.3.0"))
    machine.put(RTX)


def full_was_altered(machine):
    alter(machine.put(FULL))
    machine.put(RTX)


def compatible_with_lean(machine):
    machine.put(changed(FULL, tensorrt="11.4.2"), version_compatible=True)


@pytest.mark.parametrize("name", ["auto", "tensorrt"])
@pytest.mark.parametrize(
    ("build", "taken", "loaded"),
    [
        (whole(FULL), FULL, ["tensorrt"]),
        (whole(RTX), RTX, ["tensorrt-rtx"]),  # the other is not even loaded
        (whole(FULL, RTX), FULL, ["tensorrt"]),
        (whole(ELSEWHERE, RTX), RTX, ["tensorrt", "tensorrt-rtx"]),
        (full_lacks_one, RTX, ["tensorrt", "tensorrt-rtx"]),
        (full_is_older, RTX, ["tensorrt", "tensorrt-rtx"]),
        (full_was_altered, RTX, ["tensorrt", "tensorrt-rtx"]),
        (compatible_with_lean, LEAN, ["tensorrt", "tensorrt-lean"]),
    ],
)
def test_select_takes_the_first_tensorrt_with_valid_engines(build, taken, loaded, name, machine, caplog):
    machine.install(FULL, RTX, LEAN)
    build(machine)
    with machine.load(name) as segmenter:
        assert (segmenter.backend, segmenter.device) == ("tensorrt", str(taken))
        assert len(segmenter(IMAGE)) > 3
    assert machine.calls == loaded
    assert not got(caplog)


@pytest.mark.parametrize(
    ("build", "why", "rtx"),
    [
        (lambda machine: None, f"{FULL.folder}/prepare.engine: not built", False),
        (lambda machine: machine.put(RTX, ["prepare"]), f"{RTX.folder}/detect.engine: not built", True),
        (
            lambda machine: (machine.put(FULL, ["prepare"]), machine.put(RTX, GRAPHS[:2])),
            f"{RTX.folder}/embed.engine: not built",
            True,
        ),
        (
            lambda machine: (machine.put(FULL, GRAPHS[:2]), machine.put(RTX, GRAPHS[2:])),
            f"{RTX.folder}/embed.engine: built by TensorRT for RTX 1.7.1, here is TensorRT 11.4.0",
            False,
        ),
        # What is for another GPU does not count.
        (
            lambda machine: (machine.put(ELSEWHERE, ["prepare"]), machine.put(RTX, ["prepare"])),
            f"{RTX.folder}/detect.engine: not built",
            True,
        ),
    ],
)
def test_select_error_is_about_the_closest_device(build, why, rtx, machine):
    machine.install(FULL, RTX)
    build(machine)
    with pytest.raises(EngineError) as error:
        machine.load("tensorrt")
    path, _, command = str(error.value).partition("; build it here: ")
    assert path == f"{machine.engines}/tiny/{why}"
    wanted = ["nanoseg", "build", "--bundle", str(machine.path)] + ["--target", "tensorrt-rtx"] * rtx
    assert shlex.split(command) == [*wanted, "--engines", str(machine.engines)]
