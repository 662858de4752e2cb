"""Which file a CPU runs of a graph: its own, or one that is made once and kept, whole or not at all."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nanoseg.backends.onnxruntime import cpu_graphs
from nanoseg.backends.onnxruntime.cpu_graphs import cpu_graph, rounded_graph
from nanoseg.bundle import Graph
from nanoseg.errors import BundleError, EngineError
from nanoseg.utils.hashing import sha256_of_file
from tests.conftest import ROOT

pytest.importorskip("onnx", reason="needs nanoseg[cpu]")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where files are kept; it is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nanoseg" / "cpu" / "1"


@pytest.fixture
def int8(tmp_path: Path) -> Graph:
    from tests.helpers.tiny_detectors import quantized_detector

    path = quantized_detector(tmp_path / "detect.onnx", 19)
    return Graph(path.name, sha256_of_file(path), path.stat().st_size, "int8", path)


@pytest.fixture
def made(int8: Graph, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every graph that was made, as it happens."""
    from nanoseg.onnx_graphs.deploy import float32 as module

    calls, make = [], module.float32_graph

    def remember(path: Path) -> bytes:
        calls.append(path)
        return make(path)

    monkeypatch.setattr(module, "float32_graph", remember)
    return calls


def content(kept: Path | bytes) -> bytes:
    return kept if isinstance(kept, bytes) else kept.read_bytes()


def test_cpu_graphs_float32_is_its_own_file(tmp_path: Path, cache: Path) -> None:
    graph = Graph("detect.onnx", "0" * 64, 1, "fp32", tmp_path / "nothing.onnx")
    assert cpu_graph(graph) == rounded_graph(graph) == graph.path
    assert not cache.exists()


def test_cpu_graphs_are_converted_once_and_named_by_both_contents(int8: Graph, made: list[Path], cache: Path) -> None:
    first = cpu_graph(int8)
    digest = hashlib.sha256(content(first)).hexdigest()
    assert first == cache / f"{int8.sha256[:16]}-{digest[:16]}.onnx"
    assert cpu_graph(int8) == first
    assert made == [int8.path]
    assert list(cache.iterdir()) == [first]


def test_cpu_graphs_another_graph_has_a_file_of_its_own(int8: Graph, made: list[Path], cache: Path) -> None:
    from dataclasses import replace

    files = {cpu_graph(int8), cpu_graph(replace(int8, sha256="f" * 64))}
    assert len(made) == len(files) == 2
    assert set(cache.iterdir()) == files


def altered(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])


@pytest.mark.parametrize(
    "damage",
    [
        altered,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.rename(path.with_name(f"{path.stem[:-1]}.onnx")),
        Path.unlink,
    ],
    ids=["altered", "cut short", "empty", "called otherwise", "gone"],
)
def test_cpu_graphs_replace_a_damaged_file(damage, int8: Graph, made: list[Path], cache: Path) -> None:
    first = cpu_graph(int8)
    good = content(first)
    damage(first)
    assert cpu_graph(int8) == first
    assert content(first) == good
    assert list(cache.iterdir()) == [first]
    assert len(made) == 2


def folder_in_its_place(cache: Path, int8: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cpu_graph(int8)
    path.unlink()
    path.mkdir()


def file_in_the_folders_place(cache: Path, int8: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")


def read_only(cache: Path, int8: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cpu_graphs, "write_atomic", refuse)


def full(cache: Path, int8: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)


def no_home(cache: Path, int8: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise EngineError("engines: this user has no home folder")

    monkeypatch.setattr(cpu_graphs, "cache_folder", refuse)


@pytest.mark.parametrize("prevent", [folder_in_its_place, file_in_the_folders_place, read_only, full, no_home])
def test_cpu_graphs_without_a_cache_are_converted_each_time(
    prevent, int8: Graph, made: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanoseg.onnx_graphs.deploy.float32 import float32_graph

    prevent(cache, int8, monkeypatch)
    before, wanted = set(cache.parent.rglob("*")), float32_graph(int8.path)
    del made[:]
    for times in (1, 2):
        assert cpu_graph(int8) == wanted
        assert len(made) == times
    assert set(cache.parent.rglob("*")) - {cache} == before - {cache}


def test_cpu_graphs_interrupted_leave_nothing(int8: Graph, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cpu_graph(int8)
    assert list(cache.iterdir()) == []


def test_cpu_graphs_refuse_other_files(int8: Graph) -> None:
    int8.path.write_bytes(int8.path.read_bytes()[:200])
    for made_of in (cpu_graph, rounded_graph):
        with pytest.raises(BundleError, match=r"detect\.onnx: wanted an ONNX model, got"):
            made_of(int8)


def test_cpu_graphs_of_many_threads(int8: Graph, cache: Path) -> None:
    """Threads here, and processes below: each gets a whole file, and one is kept."""
    found: list[Path | bytes] = []
    threads = [threading.Thread(target=lambda: found.append(cpu_graph(int8))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert {hashlib.sha256(content(one)).hexdigest()[:16] for one in found} == {found[0].stem[-16:]}
    assert list(cache.iterdir()) == [found[0]]


WHILE_OTHERS_DO = """
import sys
from pathlib import Path
import nanoseg.onnx_graphs.deploy.float32
from nanoseg.backends.onnxruntime.cpu_graphs import cpu_graph
from nanoseg.bundle import Graph
from nanoseg.utils.hashing import sha256_of_file

path = Path(sys.argv[1])
graph = Graph(path.name, sha256_of_file(path), path.stat().st_size, "int8", path)
print("ready", flush=True)
sys.stdin.readline()
kept = cpu_graph(graph)
print(kept, sha256_of_file(kept)[:16] == kept.stem[-16:], flush=True)
"""


def test_cpu_graphs_of_two_processes(int8: Graph, cache: Path) -> None:
    command = [sys.executable, "-c", WHILE_OTHERS_DO, str(int8.path)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    printed = {process.communicate("go\n")[0] for process in processes}
    assert len(printed) == 1
    kept, whole = printed.pop().split()
    assert whole == "True"
    assert list(cache.iterdir()) == [Path(kept)]
