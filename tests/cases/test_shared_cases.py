"""Every folder of `../shared/cases` by the command line, and where the tests of its whole kind are.

`make cases` runs this file and those: one verdict a folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases.conftest import SHARED_CASES
from tests.helpers.paths import ROOT

# The tests of each folder's kind.
KINDS = {
    "faults/01-tiff-bomb": "tests/cases/test_picture_pixels.py",
    "faults/02-coco-polygon-kills": "tests/cases/test_coco_truth.py",
    "faults/04-telemetry": "tests/test_telemetry.py",
    "faults/06-fifo-devices": "tests/cases/test_hostile_text.py",
    "faults/07-toml-json-depth": "tests/cases/test_hostile_text.py",
    "faults/09-coco-short-rle": "tests/cases/test_coco_truth.py",
    "faults/12-make-bundle-kill": "tests/bundle/test_install.py",
    "faults/14-fork": "tests/test_segmenter_processes.py",
    "models/01-int8-joint-blind": "tests/cases/test_blind_networks.py",
    "models/02-fp16-unsorted": "tests/cases/test_networks_of_converters.py",
    "models/03-end2end-two-classes": "tests/cases/test_end2end.py",
    "models/04-int8-bias-int32": "tests/cases/test_networks_of_converters.py",
    "models/06-dynamic-quant": "tests/cases/test_networks_of_converters.py",
    "models/07-black-calibration": "tests/cases/test_black_calibration.py",
    "models/09-external-sha": "tests/cases/test_external_sha.py",
    "models/10-not-what-it-says": "tests/models/checkpoints/test_not_checkpoints.py",
    "models/12-averaged-model": "tests/models/checkpoints/test_not_checkpoints.py",
    "models/14-encoder-input-image": "tests/cases/test_foreign_encoders.py",
    "models/16-labels": "tests/bundle/test_label_files.py",
    "models/19-candidates": "tests/cases/test_candidates.py",
    "models/20-second-input": "tests/cases/test_second_inputs.py",
    "sources/01-interlaced": "tests/cases/test_video_interlaced.py",
    "sources/03-false-damaged": "tests/cases/test_video_times.py",
    "sources/05-raw-mjpeg": "tests/cases/test_video_formats.py",
    "sources/06-non-utf8-video": "tests/cases/test_names_not_utf8.py",
    "sources/08-display-unreachable": "tests/cases/test_display.py",
    "sources/09-sigterm": "tests/cases/test_signals.py",
    "sources/10-symlink-loop": "tests/cases/test_picture_files.py",
    "sources/12-folder-leaves-out": "tests/cases/test_picture_files.py",
    "sources/15-av1": "tests/cases/test_video_formats.py",
    "sources/18-polygons": "tests/cases/test_polygons.py",
    "sources/19-video-suffixes": "tests/cases/test_video_formats.py",
    "sources/20-stderr-noise": "tests/cases/test_picture_damage.py",
    "sources/21-bracket-hint": "tests/cases/test_picture_files.py",
    "sources/22-colours": "tests/cases/test_video_colours.py",
    "sources/23-first-page": "tests/cases/test_picture_files.py",
    "sources/25-urls": "tests/sources/test_open.py",
}

# Files as they are, by `nanoseg run`: the exit code, the number of frames, and text of stderr.
RUNS = {
    "sources/01-interlaced/scene_i.mp4": (0, 5, "deinterlaced"),
    "sources/03-false-damaged/bvfr.webm": (0, 39, ""),
    "sources/03-false-damaged/bcut.mp4": (0, 75, ""),
    "sources/05-raw-mjpeg/raw.mjpeg": (0, 10, ""),
    "sources/15-av1/av1b.mp4": (0, 25, ""),
    "sources/19-video-suffixes/clip.h264": (0, None, ""),
    "sources/20-stderr-noise/geo.tif": (0, 1, ""),
    "sources/20-stderr-noise/zeroed.jpg": (3, None, "is damaged"),
    "sources/22-colours/c709.mp4": (0, None, ""),
    "sources/23-first-page/multi.gif": (0, 3, ""),
    "sources/23-first-page/multi.tif": (0, 1, "the first"),
    "sources/23-first-page/multi.webp": (0, 1, "the first"),
    "sources/23-first-page/multi_apng.png": (0, 1, "the first"),
}

# Networks that a script makes, by `nanoseg bundle make --detector` and its detector spec: exit code, text of stderr.
MADE = {
    "models/01-int8-joint-blind": (4, "the rounding"),
    "models/06-dynamic-quant": (4, "DynamicQuantizeLinear"),
    "models/20-second-input": (4, "pixel_mask"),
}


def test_every_folder_has_tests() -> None:
    if not SHARED_CASES.is_dir():
        pytest.skip("needs ../shared/cases, which is not beside this checkout")
    folders = {f"{path.parent.name}/{path.name}" for path in SHARED_CASES.glob("*/[0-9]*-*")}
    assert folders == set(KINDS)


@pytest.mark.parametrize("folder", KINDS)
def test_tests_of_the_kind_exist(folder: str) -> None:
    assert (ROOT / KINDS[folder]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_run(name: str, case, call, caplog: pytest.LogCaptureFixture) -> None:
    code, frames, text = RUNS[name]
    got, out, err = call("run", case(name), "--json")
    assert got == code, err
    lines = [line for line in (*err.splitlines(), *caplog.messages) if "the bundle parts knows" not in line]
    assert len(lines) == (1 if text else 0), lines
    assert text in "".join(lines)
    if code == 0:
        assert json.loads(out)["frames"] == frames or frames is None


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_make(name: str, made_case, call, tmp_path: Path) -> None:
    from tests.helpers.tiny_networks import decoder, encoder

    code, text = MADE[name]
    folder = made_case(name)
    networks = ("--encoder", encoder(tmp_path / "e.onnx"), "--decoder", decoder(tmp_path / "m.onnx"))
    line = ("--detector", folder / "d.onnx", "--detector-spec", folder / "form.toml", "--labels", "a,b,c")
    got, _, err = call("bundle", "make", *line, *networks, "--out", tmp_path / "out")
    assert got == code, err
    assert "Traceback" not in err
    assert text in err
    assert not (tmp_path / "out").exists()
