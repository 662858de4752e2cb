"""A detector to quantize, its ranges, and a run of the tool."""

import msgspec
import onnx
import pytest

from nanoseg.onnx_graphs.int8.report import QuantizeReport
from tests.helpers.tiny_residual import residual_detector
from tests.helpers.verbs import verb
from tests.onnx_graphs.int8.finder import finder, pictures
from tests.onnx_graphs.int8.wired import ranges_of

quantize = verb("quantize")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return residual_detector()


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto) -> dict[str, float]:
    return ranges_of(model)


@pytest.fixture
def given(tmp_path, capsys):
    """Runs the tool on the finder and its pictures; gives exit code, report or None, and stderr."""
    detector, annotations = finder(tmp_path / "finder.onnx"), pictures(tmp_path / "pictures")

    def run(*flags, truth=True, **instead):
        told = {"--out": tmp_path / "int8.onnx", "--images": annotations.parent, "--count": 2}
        told |= {"--annotations": annotations} if truth else {}
        told |= {f"--{name}": value for name, value in instead.items() if name != "detector"}
        words = [str(word) for pair in told.items() for word in pair]
        code = quantize([str(instead.get("detector", detector)), *words, "--json", *map(str, flags)])
        out, err = capsys.readouterr()
        return code, msgspec.json.decode(out, type=QuantizeReport) if out else None, err

    return run
