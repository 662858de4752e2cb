"""Published latencies on the boards of the estimate, and on a T4: what fit_estimate.py fits to.

Sources:
    yolo11: Ultralytics' guide to NVIDIA Jetson as of 8.3.51 (December 2024): network alone, its own runtime, 640 px.
    yolo26: the same guide as of 8.4. Its Orin NX is faster than its Orin Nano Super there and was slower for YOLO11, so
        it is taken to be in the "Super" power mode; the guide names none.
    nanosam, mobilesam: the README of NVIDIA-AI-IOT/nanosam: encoder alone, and the whole pipeline with one prompt;
        ResNet18 in FP16, TinyViT and the decoder in FP32.
    yolo-nas: super-gradients' README, T4, TensorRT, batch 1.
    yolo-nas-pose: a model card of December 2023, Orin Nano with JetPack 5.1.1, 1 / throughput.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nanoseg.benchmark.boards import BOARDS, Board

T4 = Board("T4", 320, {"int8": 130, "fp16": 65, "fp32": 8.1}, 8.1, 1590)  # no TF32: its float32 runs on CUDA cores
FIT_BOARDS = {**BOARDS, "t4": T4}


class Published(NamedTuple):
    """One published latency."""

    family: str
    board: str
    networks: tuple[tuple[str, str], ...]  # of published_layers.json, one after the other, with their precision
    ms: float

    @property
    def title(self) -> str:
        """What ran, for tables."""
        return " + ".join(f"{name} {precision.upper()}" for name, precision in self.networks)


def _table(family: str, board: str, precision: str, networks: Sequence[str], ms: Sequence[float]) -> list[Published]:
    return [Published(family, board, ((name, precision),), each) for name, each in zip(networks, ms, strict=True)]


_YOLO11 = [f"yolo11{size}" for size in "nsmlx"]
_YOLO26 = [f"yolo26{size}" for size in "nsm"]
_YOLO_NAS = [f"yolo-nas-{size}" for size in "sml"]
_DECODER = ("sam-decoder", "fp32")
_NANOSAM = ("nanosam-encoder", "fp16")
_MOBILESAM = ("mobilesam-encoder", "fp32")

PUBLISHED = (
    *_table("yolo11", "orin-nano-super", "fp32", _YOLO11, (7.60, 13.29, 28.21, 35.59, 67.32)),
    *_table("yolo11", "orin-nano-super", "fp16", _YOLO11, (4.91, 7.30, 13.99, 17.57, 32.94)),
    *_table("yolo11", "orin-nano-super", "int8", _YOLO11, (3.91, 5.25, 9.58, 12.37, 20.72)),
    *_table("yolo11", "orin-nx", "fp32", _YOLO11, (8.05, 14.13, 30.72, 38.68, 76.44)),
    *_table("yolo11", "orin-nx", "fp16", _YOLO11, (4.85, 7.55, 14.45, 18.53, 35.99)),
    *_table("yolo11", "orin-nx", "int8", _YOLO11, (4.37, 5.63, 10.19, 13.36, 22.32)),
    *_table("yolo26", "orin-nano-super", "fp16", _YOLO26, (4.57, 7.17, 13.59)),
    *_table("yolo26", "orin-nano-super", "int8", _YOLO26, (3.80, 5.25, 9.30)),
    *_table("yolo26", "orin-nx-super", "fp16", _YOLO26[:2], (4.13, 6.41)),
    *_table("yolo26", "orin-nx-super", "int8", _YOLO26[:2], (3.49, 4.78)),
    *_table("yolo26", "agx-orin", "fp16", _YOLO26, (2.62, 3.76, 6.24)),
    *_table("yolo26", "agx-orin", "int8", _YOLO26, (2.30, 2.98, 4.72)),
    *_table("yolo-nas", "t4", "fp16", _YOLO_NAS, (3.21, 5.85, 7.87)),
    *_table("yolo-nas", "t4", "int8", _YOLO_NAS, (2.36, 3.78, 4.78)),
    *_table("yolo-nas-pose", "orin-nano", "int8", ("yolo-nas-pose-s", "yolo-nas-pose-l"), (12.4, 20.9)),
    *_table("yolo-nas-pose", "orin-nano", "fp16", ("yolo-nas-pose-l",), (33.8,)),
    Published("nanosam", "agx-orin", (_NANOSAM,), 4.2),
    Published("nanosam", "agx-orin", (_NANOSAM, _DECODER), 8.1),
    Published("nanosam", "orin-nano", (_NANOSAM, _DECODER), 27),
    Published("mobilesam", "agx-orin", (_MOBILESAM,), 35),
    Published("mobilesam", "agx-orin", (_MOBILESAM, _DECODER), 39),
    Published("mobilesam", "orin-nano", (_MOBILESAM, _DECODER), 146),
)
