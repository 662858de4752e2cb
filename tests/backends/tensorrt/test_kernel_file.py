"""Kernels that TensorRT for RTX compiled, kept beside the engine, on a made-up GPU."""

import logging

import pytest

from nanoseg.backends.tensorrt.kernel_file import KernelFile
from tests.backends.contract.backends import FAKES, backend
from tests.backends.contract.conftest import tiny  # noqa: F401
from tests.data.fill_weights import image_u8
from tests.fakes.tensorrt_rtx import IRuntimeCache

ORIN, DESKTOP, RTX, _ = FAKES


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.kernels")}


def test_kernels_are_kept_beside_engines(tiny, tmp_path, monkeypatch):  # noqa: F811
    with backend(RTX, tiny, tmp_path, monkeypatch) as run:
        with run.load() as segmenter:
            assert {"detect.kernels", "embed.kernels", "segment.kernels"} <= kept(tmp_path).keys()
            assert "prepare.kernels" not in kept(tmp_path)
            segmenter(image_u8(1, 120, 160))
        first = kept(tmp_path)
        assert "prepare.kernels" in first
        assert all(content.startswith(b"nanoseg kernels 1\n") for content in first.values())
        with run.load():
            second = kept(tmp_path)
        assert len(second["detect.kernels"]) > len(first["detect.kernels"])  # with those of the first time


def test_kernels_of_tensorrt_are_in_its_engines(tiny, tmp_path, monkeypatch):  # noqa: F811
    with backend(DESKTOP, tiny, tmp_path, monkeypatch) as run, run.load():
        assert kept(tmp_path) == {}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "detect.kernels"


def saved(file, kernels=3, sha256="1" * 64):
    cache = IRuntimeCache()
    cache.kernels = kernels
    KernelFile(file, sha256).save(cache)


def loaded(file, sha256="1" * 64):
    cache = IRuntimeCache()
    KernelFile(file, sha256).load(cache)
    return cache.kernels


def test_kernel_file_round_trip(file, caplog):
    assert loaded(file) == 0
    saved(file)
    assert loaded(file) == 3
    assert loaded(file, "2" * 64) == 0  # another engine
    assert not caplog.records
    saved(file, 5, "2" * 64)
    assert loaded(file, "2" * 64) == 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[:-1], "it was altered"),
        (lambda content: content + b"k", "it was altered"),
        (lambda content: b"x" + content, "it was altered"),
        (lambda content: b"", "it is too short"),
        (lambda content: content[:40], "it is too short"),
    ],
)
def test_kernel_file_that_is_broken_is_ignored(file, caplog, change, reason):
    saved(file)
    file.write_bytes(change(file.read_bytes()))
    with caplog.at_level(logging.WARNING, "nanoseg"):
        assert loaded(file) == 0
    assert [each.getMessage() for each in caplog.records] == [f"detect.kernels: {reason}; kernels are compiled anew"]
    saved(file)
    assert loaded(file) == 3


def test_kernel_file_that_the_library_does_not_read(file, caplog, monkeypatch):
    saved(file)
    monkeypatch.setattr(IRuntimeCache, "MAGIC", b"of another version:")
    assert loaded(file) == 0
    assert "TensorRT for RTX does not read it" in caplog.text


def test_kernel_file_is_written_only_where_something_is_new(file):
    saved(file)
    before = file.stat().st_mtime_ns
    cache, kernels = IRuntimeCache(), KernelFile(file, "1" * 64)
    kernels.load(cache)
    kernels.save(cache)
    assert file.stat().st_mtime_ns == before
    cache.kernels += 1
    kernels.save(cache)
    assert loaded(file) == 4


def test_kernel_file_in_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    saved(tmp_path / "file" / "detect.kernels")  # a file where the folder should be
    assert loaded(tmp_path / "nowhere" / "detect.kernels") == 0
