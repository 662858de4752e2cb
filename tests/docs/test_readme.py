"""Where a page names extras and then commands, the extras are enough; and ffmpeg's frames are those of the labels."""

import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest

from tests.docs.pages import PAGES
from tests.helpers.paths import ROOT

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RUNS = {"onnxruntime", "opencv-python"}
# What the first words of a command want, and with a flag more.
NEEDS = {
    "demo": RUNS | {"supervision", "av"},
    "run": RUNS,
    "bundle get": {"onnx", "onnxslim", "onnxruntime", "tomli-w"},
    "bundle make": {"onnx", "onnxslim", "onnxruntime", "tomli-w"},
    "quantize": RUNS | {"onnx", "pycocotools", "matplotlib"},
    "fp16": RUNS | {"onnx"},
    "train": {"opencv-python", "torch", "pycocotools", "matplotlib", "safetensors"},
    "build --target tensorrt-rtx": {"tensorrt-rtx-cu12", "onnx"},
}
WITH_OUT = {"run": {"supervision"}}


def libraries(extras):
    found = set()
    for extra in extras:
        for wanted in EXTRAS[extra]:
            name, inner = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", wanted).groups()
            found |= libraries(inner.split(",")) if name == "nanoseg" and inner else {name}
    return found


def installs():
    """Yield the extras of each block of a page that installs nanoseg, and the commands of the block behind it.

    A page that activates `.venv`, which `make demo` filled, stays in it.
    """
    pages = {name: PAGES[name] for name in PAGES if name.startswith(("README", "docs"))}
    pages["README-pypi.md"] = (ROOT / "README-pypi.md").read_text()
    for page, text in pages.items():
        has: tuple[str, ...] = ()
        for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S):
            before, _, after = block.partition("pip install")
            if ".venv/bin/activate" in before and "venv --" not in before:
                has = ("demo",)
            if extras := re.search(r"(?:\.|nanoseg)\[([\w,]+)\]", after):
                lines = [shlex.split(line) for line in after.replace("\\\n", "").splitlines()]
                named = extras[1].split(",")
                yield page, (*named, *has), [line[1:] for line in lines if line[:1] == ["nanoseg"]]
                has = (*has, *named) if has else ()


@pytest.mark.parametrize(("page", "extras", "commands"), list(installs()))
def test_extras_are_enough_for_the_commands_behind_them(page, extras, commands):
    for words in commands:
        wanted = set().union(*(names for verb, names in NEEDS.items() if set(verb.split()) <= set(words)))
        if "--out" in words:
            wanted |= WITH_OUT.get(words[0], set())
        assert not wanted - libraries(extras), f"{page}: nanoseg {' '.join(words)}"


def test_extras_the_blocks_are_found():
    assert sum(bool(commands) for _, _, commands in installs()) >= 5


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_line_writes_the_frames_of_the_labels(tmp_path):
    """Also of a video whose frames are not equally far apart."""
    cv2, _ = pytest.importorskip("cv2"), pytest.importorskip("av")
    from nanoseg.sources.open import open_source

    source = "testsrc=size=64x48:rate=25:duration=2"
    times = ("-vf", r"select='not(mod(n\,3))+gt(n\,30)'", "-fps_mode", "vfr", tmp_path / "clip.mp4")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *times], check=True)
    (line,) = re.findall(r"`(ffmpeg [^`]*)`", PAGES["README.md"])
    subprocess.run(shlex.split(line), cwd=tmp_path, check=True, capture_output=True)
    frames = [frame.image for frame in open_source(tmp_path / "clip.mp4")]
    written = sorted(tmp_path.glob("clip-*.png"))
    assert [path.name for path in written] == [f"clip-{index:06}.png" for index in range(len(frames))]
    for path, frame in zip(written, frames, strict=True):
        assert np.abs(cv2.imread(str(path)).astype(int) - frame).max() <= 3
