"""Compose the deployment graphs of full-size networks with random weights in deployed precisions, for engine_budget.py.

YOLO-NAS S at 640 in INT8 with the rest in float16, NanoSAM's ResNet18 at 1024 in float16, SAM's decoder in float32 and
in float16. What engines of them cost depends on sizes and types alone: no value of a weight or of an image matters, so
ranges are calibrated on one image of noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from full_size_bundle import export_networks
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.encoder import load_encoder
from nanoseg.onnx_graphs.deploy.compose import Networks
from nanoseg.onnx_graphs.deploy.low_rank.graph import LOW_RANK
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.int8.calibrate import Calibrator
from nanoseg.onnx_graphs.int8.quantize import quantize
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from nanoseg.processing.nms import DEFAULT_CANDIDATES

DETECTOR_PX, RESCALE_PX, ENCODER_PX = 640, 636, 1024
MAX_DETECTIONS = 300
DECODERS = ("segment", "segment_boxes")


def full_size_graphs(folder: Path) -> dict[str, bytes]:
    """Export and reduce the networks, which takes about two minutes, and compose their graphs.

    Args:
        folder: for the networks' files.

    Returns:
        ONNX files by name: prepare, detect, embed, segment and segment_boxes, and the last two with " fp16".
    """
    files = export_networks(folder)
    detector = load_detector(files["detector"])
    decode = box_decode_nodes(detector.model.graph.node)
    calibrator = Calibrator(detector.model)
    calibrator.add(np.random.default_rng(0).random((1, 3, DETECTOR_PX, DETECTOR_PX), np.float32))
    int8 = quantize(detector.model, calibrator.ranges(), fp16_scales=True)
    files["detector"] = _write(to_fp16(int8, decode), folder / "detector-int8.onnx")
    files["encoder"] = _write(to_fp16(load_encoder(files["encoder"]).model), folder / "encoder-fp16.onnx")
    graphs = _compose(files)
    files["decoder"] = _write(to_fp16(load_decoder(files["decoder"]).model), folder / "decoder-fp16.onnx")
    fp16 = _compose(files)
    return graphs | {f"{name} fp16": fp16[name] for name in DECODERS}


def _compose(files: dict[str, Path]) -> dict[str, bytes]:
    networks = Networks.load(files["detector"], files["encoder"], files["decoder"])
    graphs = networks.graphs(RESCALE_PX, MAX_DETECTIONS, False, DEFAULT_CANDIDATES)
    low_rank = graphs.pop(LOW_RANK, None)  # what TensorRT builds
    return {
        name: (low_rank or graph if name == "segment_boxes" else graph).SerializeToString()
        for name, graph in graphs.items()
    }


def _write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
