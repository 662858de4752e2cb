"""A detector to quantize, its ranges, and a run of `nanoseg quantize`."""

import msgspec
import onnx
import pytest

from nanoseg.onnx_graphs.int8.report import QuantizeReport
from tests.helpers.colour_detector import coco_images, colour_detector
from tests.helpers.quantized_graphs import ranges_of
from tests.helpers.tiny_residual import residual_detector
from tests.helpers.verbs import verb

quantize = verb("quantize")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return residual_detector()


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto) -> dict[str, float]:
    return ranges_of(model)


@pytest.fixture
def given(tmp_path, capsys):
    """Run `nanoseg quantize` on the colour detector and its images; returns exit code, report or None, and stderr."""
    detector, annotations = colour_detector(tmp_path / "finder.onnx"), coco_images(tmp_path / "pictures")

    def run(*flags, truth=True, **instead):
        options = {"--out": tmp_path / "int8.onnx", "--images": annotations.parent, "--count": 2}
        options |= {"--annotations": annotations} if truth else {}
        options |= {f"--{name}": value for name, value in instead.items() if name != "detector"}
        words = [str(word) for pair in options.items() for word in pair]
        code = quantize([str(instead.get("detector", detector)), *words, "--json", *map(str, flags)])
        out, err = capsys.readouterr()
        return code, msgspec.json.decode(out, type=QuantizeReport) if out else None, err

    return run
