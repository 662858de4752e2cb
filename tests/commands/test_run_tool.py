"""How tools end: one line on stderr, the exit code of nanoseg's errors, and the report last."""

import argparse
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nanoseg.commands.run_tool import run_job, run_tool
from nanoseg.errors import BundleError, DependencyError, SourceError, UsageError
from tests.helpers.paths import ROOT


def raising(error: BaseException) -> Callable[..., Any]:
    def work(*_: object) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: "done", 0, ""),
        (raising(UsageError("--x: wanted 1, got 2")), 2, "tool: --x: wanted 1, got 2\n"),
        (raising(SourceError("a")), 3, "tool: a\n"),
        (raising(BundleError("b")), 4, "tool: b\n"),
        (raising(DependencyError("c")), 6, "tool: c\n"),
        (raising(KeyboardInterrupt()), 130, "tool: interrupted; go on\n"),
    ],
)
def test_a_tool_ends_in_one_line(work: Any, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool("tool", work, "interrupted; go on") == code
    assert capsys.readouterr() == ("", said)


def test_what_nobody_raised_on_purpose_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_tool("tool", lambda: 1 / 0)


def job(as_json: bool, do: Callable[..., Any], tell: Callable[..., Any] | None = None) -> int:
    flags = argparse.Namespace(json=as_json, report=Path("there"), count=3)

    def told(found: dict[str, int], folder: Path | None) -> None:
        print(f"found {found['count']}, see {folder}")

    return run_job("tool", flags, lambda: (SimpleNamespace, do, tell or told))


def test_a_job_is_made_of_its_flags_and_told_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    def do(given: SimpleNamespace, folder: Path, say: Callable[[str], None]) -> dict[str, int]:
        say("half of it")
        return {"count": given.count}

    assert job(False, do) == 0
    assert capsys.readouterr() == ("found 3, see there\n", "tool: half of it\n")
    assert job(True, do) == 0
    assert capsys.readouterr().out == '{\n  "count": 3\n}\n'


def test_ctrl_c_says_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it, once the report is being told."""
    stop = raising(KeyboardInterrupt())
    assert job(False, stop) == 130
    assert capsys.readouterr() == ("", "tool: interrupted; nothing was written\n")
    assert job(False, lambda *_: {"count": 1}, stop) == 130
    assert capsys.readouterr() == ("", "tool: interrupted\n")


@pytest.mark.parametrize(
    ("tool", "flags"),
    [
        ("export_image_encoder", ["--checkpoint", "a.pt", "--out", "a.onnx"]),
        ("export_mask_decoder", ["--checkpoint", "a.pt", "--out", "a.onnx"]),
        ("export_yolo_nas", ["--checkpoint", "a.pt", "--out", "a.onnx"]),
        ("export_torch2trt", ["a.engine", "--out", "a.pth"]),
        ("import_torch2trt", ["a.pth", "--out", "a.engine"]),
        ("train_segmenter", ["--out", "run"]),
        ("train_yolo_nas", ["--out", "run"]),
        ("fetch_weights", ["--list"]),
        ("make_bundle", ["--out", "mine"]),
        ("measure_bundle", ["--bundle", "mine"]),
        ("to_fp16", ["a.onnx", "--out", "b.onnx", "--images", "parts://"]),
        ("quantize_yolo_nas", ["a.onnx", "--out", "b.onnx", "--images", "parts://"]),
    ],
)
def test_every_tool_ends_so_in_its_own_name(tool: str, flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"tools.{tool}")
    names: list[str] = []
    ending = "run_tool" if hasattr(module, "run_tool") else "run_job"
    monkeypatch.setattr(module, ending, lambda name, *_: names.append(name) or 7)
    monkeypatch.setattr("sys.argv", [tool, *flags])
    assert module.main() == 7
    assert names == [tool]


WANTS = {  # the flags, and the module, library and extra that it cannot do without
    "export_image_encoder": (["--checkpoint", "a.pt", "--out", "a.onnx"], "torch", "torch", "export"),
    "export_mask_decoder": (["--checkpoint", "a.pt", "--out", "a.onnx"], "torch", "torch", "export"),
    "export_yolo_nas": (["--checkpoint", "a.pt", "--out", "a.onnx"], "torch", "torch", "export"),
    "export_torch2trt": (["a.engine", "--out", "a.pth"], "torch", "torch", "export"),
    "import_torch2trt": (["a.pth", "--out", "a.engine"], "torch", "torch", "export"),
    "train_segmenter": (["--out", "run"], "torch", "torch", "train"),
    "train_yolo_nas": (["--out", "run"], "torch", "torch", "train"),
    "measure_bundle": (["--bundle", "parts"], "cv2", "OpenCV", "opencv"),
}


@pytest.mark.parametrize("tool", WANTS)
@pytest.mark.parametrize(
    ("loading", "code", "said"),
    [
        ("raise ModuleNotFoundError(name=__name__)", 6, '{library} is not installed: pip install "nanoseg[{extra}]"'),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_a_tool_ends_so_while_libraries_load(tool: str, loading: str, code: int, said: str, tmp_path: Path) -> None:
    flags, module, library, extra = WANTS[tool]
    (tmp_path / f"{module}.py").write_text(loading)

    def run(*flags: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *flags]
        paths = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(words, cwd=tmp_path, env=paths, capture_output=True, text=True, check=False)

    done = run(*flags)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"{tool}: {said.format(library=library, extra=extra)}")
    assert done.stderr.count("\n") == 1
    assert run("--help").returncode == 0


def test_the_flags_know_what_there_is() -> None:
    """The scripts name networks and pixels themselves, as those that know them load torch."""
    pytest.importorskip("torch", reason="needs nanoseg[export]")
    from nanoseg.commands.bundle import make as make_bundle
    from nanoseg.commands.export import image_encoder as export_image_encoder
    from nanoseg.commands.export import yolo_nas as export_yolo_nas
    from nanoseg.commands.train import detector as train_yolo_nas
    from nanoseg.commands.train import segmenter as train_segmenter
    from nanoseg.models.export.yolo_nas import PIXELS
    from nanoseg.models.image_encoder import ENCODERS
    from nanoseg.models.yolo_nas import VARIANTS

    assert set(export_image_encoder.VARIANTS) == set(train_segmenter.VARIANTS) == set(ENCODERS)
    assert set(export_yolo_nas.VARIANTS) == set(train_yolo_nas.VARIANTS) == set(VARIANTS)
    assert set(export_yolo_nas.PIXELS) == set(make_bundle.PIXELS) == set(PIXELS)
