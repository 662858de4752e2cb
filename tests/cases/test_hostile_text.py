"""Text that a parser chokes on, and pipes and devices in place of files: one line or a result, within a second."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest

from nanoseg.cli import run_command
from nanoseg.errors import NanosegError
from tests.fuzz.loaders import LOADERS

FOLDER = "faults/07-toml-json-depth"
GENEROUS_S = 5  # of what takes milliseconds; the faults were minutes
# The loader of tests/fuzz that takes a file of this kind.
KINDS = {
    "accuracy.json": "accuracy", "bundle.toml": "bundle", "checkpoints": "safetensors", "coco": "coco",
    "form": "detector_spec", "recipes": "recipe", "weight_files": "weights_onnx",
}  # fmt: skip
# What the message says; None where the file is loaded.
FILES = {
    "accuracy.json-00": "line 1: wanted UTF-8 text", "bundle.toml-00": "nested too deep",
    "bundle.toml-01": "of at most 64 digits", "bundle.toml-03": "detect.file: Expected",
    "bundle.toml-04": "detect.file: Expected", "bundle.toml-05": "format",
    "checkpoints-01": None, "coco-00": "nested too deep", "form-00": "nested too deep",
    "form-01": "of at most 64 digits", "recipes-00": "nested too deep", "recipes-01": "of at most 64 digits",
    "weight_files-00": "got a safetensors file",
}  # fmt: skip


def load(kind, content, folder):
    """Return the message of the loader's error."""
    loader = LOADERS[kind]
    path = folder / "changed" / loader.file
    path.parent.mkdir(exist_ok=True)
    loader.beside(folder)
    path.write_bytes(content)
    return message_of(loader, path)


def message_of(loader, path):
    """Return the message of the loader's error, empty where it has none; it must come soon."""
    started, message = time.monotonic(), ""
    try:
        loader.load(path)
    except NanosegError as error:
        message = str(error)
    assert time.monotonic() - started < GENEROUS_S
    return message


@pytest.mark.parametrize("name", FILES)
def test_files_that_parsers_choke_on(name, case, tmp_path):
    got = load(KINDS[name.rpartition("-")[0]], case(f"{FOLDER}/{name}").read_bytes(), tmp_path)
    assert (got == "") if FILES[name] is None else (FILES[name] in got)
    assert len(got.splitlines()) <= 1


DEEP = "[" * 100_000 + "]" * 100_000
JSON = {
    "deep lists": (DEEP, "nested too deep"),
    "deep objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
    "a long number": (f'{{"format": {"9" * 5000}}}', "a number of 5000 digits is too long"),
    "a negative one": (f'{{"format": -{"1" * 6000}}}', "a number of 6000 digits is too long"),
    "UTF-16": ('{"format": 2}'.encode("utf-16"), "UTF-16"),
    "a key twice": ('{"format": 2, "format": 3}', "there twice"),
    "NUL bytes": (b'{"format": \0\0}', "NUL bytes"),
    "cut": ('{"format": [', "not JSON"),
}
TOML = {
    "deep lists": (f"a = {DEEP}", "nested too deep"),
    "deep tables": ("a = " + "{b = " * 50_000 + "1" + "}" * 50_000, "nested too deep"),
    "a long key": (f"{'a.' * 100_000}b = 1", "parts in a key"),
    "a long table": (f"[{'a.' * 100_000}b]", "parts in a key"),
    "a long number": (f"a = {'9' * 400_000}", "of at most 64 digits"),
    "a long hexadecimal": (f"a = 0x{'f' * 100_000}", "of at most 64 digits"),
    "UTF-16": ("a = 1".encode("utf-16"), "UTF-16"),
    "Latin-1": ('a = "M\xfcll"'.encode("latin-1"), "line 1: wanted UTF-8 text"),
    "too much": ("# much\n" * 200_000, "more than the limit"),
}


@pytest.mark.parametrize("kind", ["accuracy", "coco", "engine_records"])
@pytest.mark.parametrize("name", JSON)
def test_json_that_parsers_choke_on(name, kind, tmp_path):
    content, message = JSON[name]
    got = load(kind, content if isinstance(content, bytes) else content.encode(), tmp_path)
    assert message in got
    assert len(got) < 300


@pytest.mark.parametrize("kind", ["bundle", "detector_spec", "recipe"])
@pytest.mark.parametrize("name", TOML)
def test_toml_that_parsers_choke_on(name, kind, tmp_path):
    content, message = TOML[name]
    got = load(kind, content if isinstance(content, bytes) else content.encode(), tmp_path)
    assert message in got
    assert len(got) < 300


NAMES = [
    "detect.onnx\n",
    "a" * 5000,
    "../detect.onnx",
    "/etc/passwd",
    "detect.onnx\0",
    "",
    ".",
    "\x1b[31m",
    "\u202ea.onnx",
]


@pytest.mark.parametrize("kind", ["bundle", "engine_records"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_that_are_none(name, kind, tmp_path):
    file = {"bundle": "detect.onnx", "engine_records": "detect.engine"}[kind]
    whole = LOADERS[kind].whole(tmp_path)[0].decode()
    assert f'"{file}"' in whole
    got = load(kind, whole.replace(f'"{file}"', json.dumps(name)).encode(), tmp_path)
    assert ".file: Expected `str`" in got
    assert len(got) < 300


@pytest.mark.parametrize("kind", ["safetensors", "safetensors_without_torch", "weights"])
@pytest.mark.parametrize("name", ["deep lists", "deep objects", "a long number", "cut"])
def test_headers_of_safetensors_that_parsers_choke_on(name, kind, tmp_path):
    header = JSON[name][0].encode()
    assert len(load(kind, struct.pack("<Q", len(header)) + header + bytes(8), tmp_path)) > 20


def test_coco_numbers_beyond_floats_are_told_by_id(tmp_path):
    document = json.loads(LOADERS["coco"].whole(tmp_path)[0])
    document["annotations"][0]["bbox"] = [10**400, 2, 18, 13]
    document["images"][0]["width"] = 10**300
    assert "image 1: its width is 1000" in load("coco", json.dumps(document).encode(), tmp_path)


def pipe(path):
    os.mkfifo(path)


def zeros(path):
    path.symlink_to("/dev/zero")


def endless(path):
    with path.open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)


@pytest.fixture(autouse=True)
def never_hangs():
    """End a test that waits at a pipe; a read from one can be interrupted."""

    def stop(*_):
        pytest.fail("it waits, or reads without end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


NOT_FILES = (
    *("tiff", "mp4", "bundle", "onnx", "signature", "detector_spec", "recipe", "engine_records", "labels", "coco"),
    *("saved_masks", "torch", "safetensors", "torch_without_torch", "safetensors_without_torch", "trt_module"),
    *("accuracy", "weights"),
)


@pytest.mark.parametrize("place", [pipe, zeros, endless])
@pytest.mark.parametrize("kind", NOT_FILES)
def test_pipes_devices_and_sparse_giants_in_place_of_files(kind, place, tmp_path):
    loader = LOADERS[kind]
    path = tmp_path / "changed" / loader.file
    path.parent.mkdir()
    loader.beside(tmp_path)
    place(path)
    message = message_of(loader, path)
    assert len(message.splitlines()) == 1
    assert len(message) < 400


@pytest.mark.parametrize("place", [pipe, zeros])
@pytest.mark.parametrize(
    ("line", "name", "message"),
    [
        ("info b", "b/bundle.toml", "b/bundle.toml: cannot be read: it is a "),
        ("run x.mp4", "x.mp4", "x.mp4"),
        ("segment p.png --box 1,1,9,9 --mask-from x.npz", "x.npz", "--mask-from x.npz: cannot be read: it is a "),
        ("bundle make --detector d.onnx --encoder d.onnx --decoder d.onnx --name a --labels a,b --out o", "d.onnx",
         "d.onnx"),
    ],
)  # fmt: skip
def test_command_lines(line, name, message, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("p.png", np.full((20, 30, 3), 90, np.uint8))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    place(path)
    with suppress(SystemExit):
        assert run_command(line.split()) in (2, 3, 4, 5)
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) <= 2


def test_engines_whose_record_is_a_pipe_are_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("p.png", np.full((20, 30, 3), 90, np.uint8))
    (tmp_path / "e/parts/x").mkdir(parents=True)
    pipe(tmp_path / "e/parts/x/engines.json")
    assert run_command(["run", "p.png", "--engines", "e", "--limit", "1", "--out", "o"]) == 0
