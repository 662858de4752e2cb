"""Models whose declared tensors cannot be: one line, not an error of the library that meets them first."""

from pathlib import Path

import onnx
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.load import read_model
from tests.helpers.tiny_networks import some_detector


@pytest.mark.parametrize("values", ["input", "output"])
@pytest.mark.parametrize(
    ("elem_type", "dim", "message"),
    [
        (10**8, 64, "of the data type 100000000, which is none"),
        (1, -64, "of shape (1"),
        (1, 1 << 40, "of shape (1"),
    ],
)
def test_read_model_refuses_types_and_sizes_that_no_tensor_has(
    values: str, elem_type: int, dim: int, message: str, tmp_path: Path
) -> None:
    model = onnx.load(some_detector(tmp_path / "d.onnx"))
    tensor = getattr(model.graph, values)[0].type.tensor_type
    tensor.elem_type = elem_type
    tensor.shape.dim[2].dim_value = dim
    onnx.save(model, tmp_path / "d.onnx")
    with pytest.raises(BundleError) as error:
        read_model(tmp_path / "d.onnx")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
