"""Figures of engines from layer lists."""

from nanoseg.backends.tensorrt.build.layer_list import Built, read_layers

STRIDED = "Strides: [60000,600,3,1], StrideOrder: [3,2,1,0], "


def a_tensor(dims, dtype, strides=""):
    return f"{{ Name: t, Dimensions: [{dims}], {strides}Datatype: {dtype}, Format: (Linear) Row major linear format }}"


def a_layer(name, kind, *tensors):
    return f"Name: {name}, LayerType: {kind}, Inputs: [ {', '.join(tensors)}], Constants: [], Outputs: []"


FRAME, HALVES = a_tensor("1,100,200,3", "UInt8", STRIDED), a_tensor("1,3,100,200", "Half")
LISTED = "\n".join(
    [
        "Layers:",
        a_layer("[ShapeHostToDeviceCopy 0]", "ShapeHostToDevice", a_tensor("1", "Int64")),
        a_layer("__myl_CastTran_myl1_1", "kgen", FRAME, HALVES),
        a_layer("__myl_CastTran_myl7_2", "kgen", HALVES, a_tensor("", "Float")),
        a_layer("node_conv", "gemm", HALVES),
        f"I/O Tensors: {FRAME}",
    ]
)


def test_layers_are_counted_without_those_of_the_host():
    log = ["Total Activation Memory: 1234567 bytes", LISTED, "Total Weights Memory: 70000 bytes"]
    budget = read_layers(Built(log, {"fp16": 1.5}, 0.06, 0.12))
    assert (budget.kernels, budget.activation_mb, budget.weights_mb) == (3, 1.23, 0.07)
    assert budget.traffic_mb == 0.42  # 60,000 bytes, and three times 120,000
    assert budget.layers_mb == {"CastTran": 0.3, "node_conv": 0.12}
