"""What TensorRT for RTX makes of a whole YOLO-NAS in INT8: residual sums and transposed convolutions in its layers."""

import re

import pytest

from nanoseg.backends.tensorrt.build.layer_list import build, kernels
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from tests.helpers.full_size import FullSize

RESIDUALS = 20
DECONVOLUTIONS = 2


@pytest.mark.slow
def test_qdq_layers_of_residual_sums_and_transposed_convolutions(full_size_networks: FullSize) -> None:
    """A sum runs in the kernel that quantizes it, on the convolution's output and a tensor in INT8: no reformat."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    model = detect_graph(load_detector(full_size_networks.detector("s", "int8+fp16")), 300)
    found = kernels(build(rtx, model.SerializeToString(), "detect", {}).log)
    sums = [tensors for kind, tensors in found if re.search(r"ReluAdd", kind)]
    assert len(sums) == RESIDUALS
    for tensors in sums:
        *read, (shape, result) = [each for each in tensors if len(each[0]) == 4 and each[0][2] > 1]
        types = [dtype for _, dtype in read]
        assert result == "Int8"
        assert types.count("Int8") == 1
        # A Concat that follows is in the same kernel, with the other half that it takes.
        assert types.count("Float") + types.count("Half") == (1 if read[0][0] == shape else 2)
    # Weights are dequantized when the engine is built, not for each frame.
    written = [tensors[-1][0] for _, tensors in found]
    assert not any(shape[2:] in ((2, 2), (3, 3)) for shape in written)
    up = [tensors for _, tensors in found if any(len(shape) == 4 and shape[2:] == (2, 2) for shape, _ in tensors)]
    assert len(up) == DECONVOLUTIONS
    assert all({dtype for shape, dtype in tensors if len(shape) == 4 and shape[2] > 1} == {"Half"} for tensors in up)
