"""Annotations that ended the process in pycocotools (faults/02), or showed free memory (faults/09)."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

CODE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from nanoseg.errors import SourceError
from nanoseg.evaluation.coco_scenes import CocoScenes
try:
    CocoScenes(Path(sys.argv[1]), Path(sys.argv[1]).parent)[0].masks()
except SourceError as error:
    print(error)
"""


def outcome(annotations: Path) -> str:
    """Return the one line that reading the masks of a file prints, in a process of its own."""
    command = [sys.executable, "-c", CODE, str(annotations)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    return line


def test_coco_polygon_that_kills(case: Callable[[str], Path]) -> None:
    line = outcome(case("faults/02-coco-polygon-kills/annotations.json"))
    assert "annotations.json: object 1 in a.png: wanted polygons or a run-length code" in line
    assert line.endswith("a polygon with the coordinate 1e+308, in an image of 64 x 48 pixels")


@pytest.mark.parametrize(
    ("segmentation", "end"),
    [
        ({"size": [48, 64], "counts": [5, 10]}, "do not make the 3072 pixels of the image, or are negative"),
        ({"size": [48, 64], "counts": "52203"}, "do not make the 3072 pixels of the image, or are negative"),
        ([[1, 2, 20, 2, 1e7, 20, 1, 20]], "a polygon with the coordinate 1e+07, in an image of 64 x 48 pixels"),
        ([[1, 2, 20, 2]], "a polygon of 2 points, wanted 3 or more"),
    ],
)
def test_coco_segmentation_refused_by_its_object(
    segmentation: object, end: str, case: Callable[[str], Path], tmp_path: Path
) -> None:
    source = case("faults/02-coco-polygon-kills/annotations.json")
    (tmp_path / "a.png").write_bytes((source.parent / "a.png").read_bytes())
    content = json.loads(source.read_text())
    content["annotations"] = [{**content["annotations"][1], "segmentation": segmentation}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    line = outcome(tmp_path / "a.json")
    assert "a.json: object 2 in a.png: wanted polygons" in line
    assert line.endswith(end)
