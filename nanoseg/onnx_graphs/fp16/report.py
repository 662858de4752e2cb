"""The report of a conversion to float16: layers and their headroom, and the differences of outputs and masks."""

from __future__ import annotations

import msgspec


class MeasuredImages(msgspec.Struct):
    """The images on which activations were measured and outputs compared."""

    source: str
    annotations: str | None
    measured_on: int
    compared_on: int


class LayerHeadroom(msgspec.Struct):
    """One layer whose activations a float16 tensor holds, or would hold."""

    layer: str
    op: str
    peak: float | None  # largest |activation|; None where it is not finite
    headroom: float | None  # largest float16 number / peak; None where all activations are 0
    float16: bool


class OutputReport(msgspec.Struct):
    """One output in float16 against float32; of a detector the 300 best anchors of each image."""

    name: str
    cosine: float  # similarity, mean over images
    cosine_least: float
    largest_difference: float


class MaskReport(msgspec.Struct):
    """Masks in float16, or of a float16 encoder's embeddings, against those in float32, for the same boxes."""

    prompts: int
    of_true_boxes: bool
    alike: float  # mean IoU of the two
    worst: float  # their least IoU
    miou_float32: float | None  # with the ground truth, where there is one
    miou_float16: float | None


class Fp16Report(msgspec.Struct):
    """Content of report.json: the network that was converted to float16, and the cost in accuracy."""

    network: str
    kind: str  # encoder, detector, decoder
    out: str
    bytes_before: int
    bytes: int
    pictures: MeasuredImages
    decode: int  # nodes of a detector's box decode, which stays float32
    float32: dict[str, int]  # count of each operator that stays float32 for what it computes
    too_large: list[str]  # layers that stay float32 for their activations, in the network's order
    layers: list[LayerHeadroom]  # least headroom first
    outputs: list[OutputReport]
    masks: MaskReport | None  # None: of a detector, or of an encoder without a decoder
    seconds: float
