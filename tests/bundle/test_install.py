"""A bundle's folder is replaced completely or not at all, and can be restored."""

import os
from pathlib import Path

import pytest

from nanoseg.bundle import open_bundle
from nanoseg.bundle.install import bundle_scratch
from nanoseg.errors import BundleError
from nanoseg.utils import folders
from tests.bundle.folders import content, make, siblings


def test_install_and_restore(inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "nuts"
    versions = []
    for version in "123":
        assert make([*inputs, "--out", str(out), "--version", version]) == 0
        versions.append(content(out))
    assert open_bundle(out).version == "3"
    assert content(tmp_path / "nuts.previous") == versions[1]
    for want, other in ((1, 2), (2, 1)):
        assert make(["--restore", "--out", str(out)]) == 0
        assert content(out) == versions[want]
        assert content(tmp_path / "nuts.previous") == versions[other]


def test_install_refuses_another_folder(inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    assert make([*inputs, "--out", str(tmp_path / "photos")]) == 2
    assert content(tmp_path / "photos").keys() == {"cat.jpg"}


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("flags", [["--restore"], ["--version", "4"]])
def test_install_failing_rename_loses_nothing(
    flags: list[str], failing: int, inputs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "bundles"
    out, before = folder / "nuts", folder / "nuts.previous"
    for version in "12":
        assert make([*inputs, "--out", str(out), "--version", version]) == 0
    have = content(out), content(before)
    rename, calls = os.rename, []

    def fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails)
    monkeypatch.setattr(folders, "exchange", lambda one, other: False)  # a file system without it
    assert make([*inputs, "--out", str(out), *flags]) == 2
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text == f"nanoseg: error: {out}: cannot be written: No space left on device; choose another --out"
    assert len(calls) == 2 * failing - 1  # each that was done is undone
    assert (content(out), content(before)) == have
    assert siblings(folder) == ["nuts", "nuts.previous"]


def test_install_sweeps_what_killed_makers_left(inputs: list[str], tmp_path: Path) -> None:
    """By the next make and by --restore."""
    folder = tmp_path / "bundles"
    out = str(folder / "nuts")
    for flags in (inputs, inputs, ["--restore"]):
        (folder / ".nuts.abcd_123" / "nuts").mkdir(parents=True)
        (folder / ".nuts.abcd_123" / "nuts" / "detect.onnx").write_text("half")
        assert make([*flags, "--out", out]) == 0
        assert ".nuts.abcd_123" not in siblings(folder)
    assert siblings(folder) == ["nuts", "nuts.previous"]


def test_install_two_makers(inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is told before any long work, and may make another bundle beside."""
    out = tmp_path / "bundles" / "nuts"
    with bundle_scratch(out):
        for flags in (inputs, ["--restore"]):
            assert make([*flags, "--out", str(out)]) == 2
            text = capsys.readouterr().err.strip().splitlines()
            assert text[-1] == (
                f"nanoseg: error: {out}: another process is making this bundle; wait until it has ended"
            )
            assert "reading the networks" not in text
        assert make([*inputs, "--out", str(out.with_name("bolts"))]) == 0
    assert make([*inputs, "--out", str(out)]) == 0


def test_install_restores_a_lost_bundle(inputs: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    assert make([*inputs, "--out", str(folder / "nuts")]) == 0
    have = content(folder / "nuts")
    os.rename(folder / "nuts", folder / "nuts.previous")
    with pytest.raises(BundleError, match=r"nuts: no such bundle, but .*nuts\.previous is there: nanoseg bundle make"):
        open_bundle(folder / "nuts")
    assert make(["--restore", "--out", str(folder / "nuts")]) == 0
    assert siblings(folder) == ["nuts"]
    assert content(folder / "nuts") == have


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("there", [True, False])
def test_install_refuses_another_previous(
    there: bool, kind: str, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundles"
    before = folder / "nuts.previous"
    if there:
        assert make([*inputs, "--out", str(folder / "nuts")]) == 0
    mine = before if kind == "file" else before / "cat.jpg"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("cat")
    have = siblings(folder)
    for flags in ([], ["--restore"]):
        assert make([*inputs, "--out", str(folder / "nuts"), *flags]) == 2
        text = capsys.readouterr().err.strip().splitlines()[-1]
        assert text.startswith(f"nanoseg: error: {before}: wanted the replaced bundle or nothing there, got something")
    assert mine.read_text() == "cat"
    assert siblings(folder) == have


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("labels.txt/nuts", "labels.txt/nuts: cannot be written: "),
        ("labels.txt/a/nuts", "labels.txt/a/nuts: cannot be written: "),
        ("/proc/nothing/nuts", "/proc/nothing/nuts: cannot be written: "),
        ("x" * 300, "cannot be written: File name too long; choose another --out"),
        ("x" * 250, "cannot be written: File name too long; choose another --out"),
        ("/", "/: wanted a bundle to replace, or nothing, got something else"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--restore"]])
def test_install_folder_that_cannot_be_written(
    flags: list[str], out: str, message: str, inputs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    have = siblings(tmp_path)
    assert make([*inputs, "--out", out, *flags]) == 2
    text = capsys.readouterr().err.strip().splitlines()
    assert message in text[-1]
    assert not any("reading the networks" in line for line in text)
    assert siblings(tmp_path) == have


def test_install_full_disk(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert make([*inputs, "--out", str(tmp_path / "a" / "nuts")]) == 2
    assert "nuts: cannot be written: No space left on device" in capsys.readouterr().err.replace("\n", " ")
    assert siblings(tmp_path / "a") == []


def test_find_bundle_coco_beside_a_data_set_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("NANOSEG_BUNDLES", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco").mkdir()
    with pytest.raises(BundleError, match=r"^coco: is not installed yet: "):
        open_bundle("coco")
