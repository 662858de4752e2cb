"""The networks at full size with formula weights, exported once per session, and quantized with few images.

tests/conftest.py loads this file as a plugin, so that all test files share the exports.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.data.fill_weights import fill, uniform_f32
from tests.helpers.paths import DATA

if TYPE_CHECKING:
    import onnx

    from nanoseg.onnx_graphs.model.contract import SourceNetwork

VARIANTS = ("s", "m", "l")
DETECTOR_PX, ENCODER_PX = 640, 1024
REDUCED = ("int8", "int8+fp16", "fp16")
CALIBRATION_IMAGES = 2  # enough for plausible ranges


class FullSize:
    """ONNX files by name, each exported at its first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ranges: dict[str, dict[str, float]] = {}

    def detector(self, variant: str, precision: str = "fp32") -> Path:
        """Return YOLO-NAS at 640 with 80 classes, one of VARIANTS, in fp32 or one of REDUCED."""
        if precision == "fp32":
            return self._export(f"detector_{variant}", f"yolo_nas_{variant}", self._export_detector)
        path = self._folder / f"detector_{variant}_{precision}.onnx"
        if not path.exists():
            _write(_reduced(self._network(variant), precision, self._ranges_of(variant)), path)
        return path

    def encoder(self, precision: str = "fp32") -> Path:
        """Return NanoSAM's ResNet18 at 1024, in fp32 or fp16."""
        exported = self._export("encoder", "nanosam_resnet18_encoder", self._export_encoder)
        if precision == "fp32":
            return exported
        path = self._folder / f"encoder_{precision}.onnx"
        if not path.exists():
            from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
            from nanoseg.onnx_graphs.model.contract import ENCODER, load_network

            _write(to_fp16(load_network(exported, ENCODER).model), path)
        return path

    def decoder(self, masks: bool = False, precision: str = "fp32") -> Path:
        """Return SAM's mask decoder, with `masks` the one with mask prompts, in fp32 or fp16."""
        others = ("image_encoder.neck.0.weight",)  # as in a whole SAM
        exported = self._export("decoder", "sam_prompt_encoder_mask_decoder", self._export_decoders, others)
        if masks:
            exported = exported.with_stem("decoder_mask")
        if precision == "fp32":
            return exported
        path = exported.with_stem(f"{exported.stem}_{precision}")
        if not path.exists():
            from nanoseg.onnx_graphs.adapt.decoder import load_decoder
            from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16

            _write(to_fp16(load_decoder(exported, masks).model), path)
        return path

    def _network(self, variant: str) -> SourceNetwork:
        from nanoseg.onnx_graphs.adapt.detector import load_detector

        return load_detector(self.detector(variant))

    def _ranges_of(self, variant: str) -> dict[str, float]:
        if variant not in self._ranges:
            from nanoseg.onnx_graphs.int8.calibrate import Calibrator

            calibrator = Calibrator(self._network(variant).model)
            for seed in range(CALIBRATION_IMAGES):
                calibrator.add(picture(seed, DETECTOR_PX))
            self._ranges[variant] = calibrator.ranges()
        return self._ranges[variant]

    def _export(
        self, name: str, weights: str, export: Callable[[Path, Path], None], others: Sequence[str] = ()
    ) -> Path:
        path = self._folder / f"{name}.onnx"
        if not path.exists():
            pytest.importorskip("onnxscript", reason="exporting wants onnxscript")
            import torch

            checkpoint = self._folder / f"{name}.pt"
            manifest = json.loads((DATA / f"manifest_{weights}.json").read_text())
            state = {key: torch.from_numpy(value) for key, value in fill(manifest).items()}
            torch.save({**state, **{key: torch.zeros(1) for key in others}}, checkpoint)
            export(checkpoint, path)
            checkpoint.unlink()
        return path

    def _export_detector(self, checkpoint: Path, path: Path) -> None:
        from nanoseg.models.export.yolo_nas import export_yolo_nas

        export_yolo_nas(checkpoint, path, size_px=DETECTOR_PX, labels="coco")

    def _export_encoder(self, checkpoint: Path, path: Path) -> None:
        from nanoseg.models.export.image_encoder import export_image_encoder

        export_image_encoder(checkpoint, path, size_px=ENCODER_PX)

    def _export_decoders(self, checkpoint: Path, path: Path) -> None:
        from nanoseg.models.export.mask_decoder import export_mask_decoder

        export_mask_decoder(checkpoint, path, mask_out=path.with_stem("decoder_mask"))


def picture(seed: int, side: int) -> np.ndarray:
    """Return noise at several scales, (1, 3, side, side) float32 in 0..1: per-pixel noise is grey to a network."""
    grains = (uniform_f32(seed * 3 + i, (1, 3, side // size, side // size)) for i, size in enumerate((1, 8, 64)))
    return sum(grain.repeat(side // grain.shape[2], 2).repeat(side // grain.shape[3], 3) for grain in grains) / 3


def _reduced(detector: SourceNetwork, precision: str, ranges: dict[str, float]) -> onnx.ModelProto:
    from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
    from nanoseg.onnx_graphs.int8.quantize import quantize
    from nanoseg.onnx_graphs.model.nodes import box_decode_nodes

    model, decode = detector.model, box_decode_nodes(detector.model.graph.node)
    if precision == "fp16":
        return to_fp16(model, decode)
    if precision == "int8":
        return quantize(model, ranges)
    return to_fp16(quantize(model, ranges, fp16_scales=True), decode)


def _write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def full_size_networks() -> Iterator[FullSize]:
    """One set for all tests of a session, deleted at its end: all files together take 1 GB."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="nanoseg-full-size.") as folder:
        yield FullSize(Path(folder))
