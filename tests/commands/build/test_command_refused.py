"""`nanoseg build`: wrong orders, machines that cannot build, and which TensorRT is taken."""

import re
import types

import pytest

from nanoseg.backends.tensorrt.build import builder as builders
from nanoseg.backends.tensorrt.build.builder import Builder
from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.errors import EngineError, NanosegError, UsageError
from tests.commands.build.fake_builders import NO_GPU, built, fake_builder_for
from tests.fakes.tensorrt_builder import fake_builder
from tests.helpers.engine_records import RTX


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "cuda"}, UsageError, "--target: wanted tensorrt or tensorrt-rtx, got cuda"),
        ({"only": ["polish"]}, UsageError, "--only: parts has no graph polish; its graphs are prepare, detect, embed"),
        ({"max_frame": "big"}, UsageError, "--max-frame: wanted WIDTHxHEIGHT such as 1920x1080, got big"),
        ({"max_frame": "1920x"}, UsageError, "--max-frame: wanted WIDTHxHEIGHT"),
        ({"max_frame": "0x0"}, UsageError, "--max-frame: .*: wanted 1[26]0 or more, got 0"),
        ({"bundle": "nothing"}, NanosegError, "nothing: no such bundle"),
    ],
)
def test_build_wrong_options(options, error, message, engines):
    builder = fake_builder_for()
    with pytest.raises(error, match=message):
        build(BuildOptions(engines=engines, **options), builder)
    assert not engines.exists()
    assert built(builder) == 0


def test_build_without_gpu(engines):
    with pytest.raises(EngineError) as error:
        build(BuildOptions(engines=engines), fake_builder_for(here=None))
    assert str(error.value) == (
        f"parts: no engine can be built here: {NO_GPU}; to check its graphs without a GPU: "
        "--target tensorrt-rtx --dry-run"
    )
    assert not engines.exists()


@pytest.mark.parametrize(
    ("installed", "target", "message"),
    [
        ({}, None, "TensorRT is not installed"),
        ({"tensorrt_rtx": "1.7.1"}, "tensorrt", "TensorRT is not installed"),
        (
            {"tensorrt": OSError("libnvinfer.so.10:\nno such file")},
            None,
            "tensorrt cannot be loaded: libnvinfer.so.10: no",
        ),
        ({"tensorrt": "8.5.2.2"}, None, "TensorRT 8.5.2.2 is too old: nanoseg wants 10.3 or newer; JetPack 6.1"),
        ({"tensorrt": "10.2.0"}, "tensorrt", "TensorRT 10.2.0 is too old"),
    ],
)
def test_build_without_suitable_tensorrt(installed, target, message, monkeypatch, call):
    install(monkeypatch, installed)
    code, out, err = call("build", *(("--target", target) if target else ()), "--dry-run")
    assert (code, out) == (5 if "too old" in message else 6, "")
    assert re.fullmatch(r"nanoseg: error: [^\n]+\n", err)
    assert message in err


@pytest.mark.parametrize(
    ("installed", "target", "found"),
    [
        ({"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}, None, "TensorRT 10.3.0"),
        ({"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}, "tensorrt-rtx", "TensorRT for RTX 1.7.1"),
        ({"tensorrt_rtx": "1.7.1"}, None, "TensorRT for RTX 1.7.1"),
        ({"tensorrt": "11.4.0.106"}, "tensorrt", "TensorRT 11.4.0.106"),
    ],
)
def test_find_builder_prefers_tensorrt(installed, target, found, monkeypatch):
    install(monkeypatch, installed)
    assert str(builders.find_builder(target)) == found


def install(monkeypatch, versions):
    def import_module(name):
        if name not in versions:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(versions[name], Exception):
            raise versions[name]
        return fake_builder(version=versions[name], name=name)

    monkeypatch.setattr("nanoseg.backends.tensorrt.plan.importlib", types.SimpleNamespace(import_module=import_module))


def test_builder_device_is_of_its_kind(monkeypatch):
    calls = []
    monkeypatch.setattr(builders, "find_device", lambda kind: (calls.append(kind), (RTX, ""))[1])
    assert Builder(fake_builder(), "tensorrt-rtx", "1.7.1").device() == (RTX, "")
    assert calls == ["tensorrt-rtx"]
