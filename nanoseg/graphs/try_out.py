"""Runs composed graphs once with ONNX Runtime, chained, before anybody relies on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanoseg.errors import BundleError, needs

with needs("onnxruntime", "cpu"):
    import onnxruntime

# Wider and higher than every input, and neither.
FRAMES_HW = ((720, 1280), (97, 61))


def try_graph(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name; raises BundleError where the graph does not load or run, or an output is not finite."""
    options = onnxruntime.SessionOptions()
    # What ONNX Runtime has to say about a network of others is not news to a user of this one.
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise BundleError(f"{path.name}: ONNX Runtime does not run it: {str(error).splitlines()[0]}") from error
    for name, value in outputs.items():
        if not np.isfinite(value).all():
            raise BundleError(f"{path.name}: '{name}' holds NaN or infinity for a grey picture")
        declared = next(output.shape for output in session.get_outputs() if output.name == name)
        if any(isinstance(want, int) and want != got for want, got in zip(declared, value.shape, strict=True)):
            raise BundleError(f"{path.name}: '{name}' wants shape {tuple(declared)}, got {value.shape}")
    return outputs


def try_chain(folder: Path, prompts: int | None) -> None:
    """Run prepare, detect, embed and segment of a folder, one after the other, with 3 prompts or `prompts`."""
    prepared: dict[str, np.ndarray] = {}
    for height, width in FRAMES_HW:
        frame = np.full((1, height, width, 3), 127, np.uint8)
        prepared = try_graph(folder / "prepare.onnx", {"frame": frame})
    geometry = prepared["geometry"]
    thresholds = {"confidence": np.array(0.25, np.float32), "iou": np.array(0.7, np.float32)}
    try_graph(folder / "detect.onnx", {"images": prepared["images"], "geometry": geometry, **thresholds})
    embedding = try_graph(folder / "embed.onnx", {"image": prepared["image"]})["image_embeddings"]
    for n in (1, 3) if prompts is None else (prompts,):
        feeds = {
            "image_embeddings": embedding,
            "point_coords": np.tile(np.array([[[10, 10], [40, 60]]], np.float32), (n, 1, 1)),
            "point_labels": np.tile(np.array([[2, 3]], np.float32), (n, 1)),
            "geometry": geometry,
        }
        masks = try_graph(folder / "segment.onnx", feeds)["low_res_masks"]
        if len(masks) != n:
            raise BundleError(f"segment.onnx: wanted a mask for each of {n} prompts, got {len(masks)}")
