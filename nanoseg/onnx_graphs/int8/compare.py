"""Compare a quantized detector with the float32 one on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from nanoseg.onnx_graphs.deploy.agreement import DetectorAgreement, compare_detections
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.model.run import Session

if TYPE_CHECKING:
    from nanoseg.processing.preprocess import Preprocessed

OUTPUTS = ("boxes", "scores", "keypoints")  # of a detector, the last of poses alone


def compare_with_float(
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    prepare: Callable[[np.ndarray], Preprocessed],
    images: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, DetectorAgreement]:
    """Run both networks on images, by source.

    Args:
        model: a float32 detector, `images` -> `boxes`, `scores`, and of poses `keypoints`.
        quantized: the same in INT8.
        prepare: the detector's preprocessor.
        images: (H, W, 3) uint8 BGR by source.

    Raises:
        BundleError: a network does not run.
    """
    sessions = Session(model, "float32"), Session(emulate_fp16(quantized), "INT8")

    names = [name for name in OUTPUTS if name in sessions[0].outputs]

    def run(session: Session, image: np.ndarray) -> tuple[np.ndarray, ...]:
        found = session(names, {"images": prepare(image).images})
        return tuple(found[name][0] for name in names)

    return {
        source: compare_detections(*([run(session, image) for image in some] for session in sessions))
        for source, some in images.items()
    }
