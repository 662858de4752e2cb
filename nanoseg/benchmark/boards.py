"""Jetson boards by what bounds their GPU: memory bandwidth, rates of arithmetic and clock, from NVIDIA's data sheets.

Orin Nano, NX and AGX 64GB: the modules' data sheets, of JetPack 6.2 for "Super". AGX Orin 32GB: 14 SMs at 930 MHz; an
SM of Orin does 4096 INT8 operations a clock, as the other modules' figures say, and DLA's share of the "200 TOPS" is
not the GPU's. Thor (T5000): 20 SMs at 1.57 GHz, 1035 TFLOPS of dense FP4, of which FP8 is half and FP16 a quarter;
INT8 is taken to be as fast as FP8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.errors import UsageError


@dataclass(frozen=True)
class Board:
    """Peaks of a board in its fastest power mode."""

    name: str  # for people
    memory_gb_s: float
    tera_ops: Mapping[str, float]  # 1e12 dense operations a second of tensor cores, two a multiply-add, by precision
    cuda_tflops: float  # of CUDA cores in float32
    gpu_mhz: float


def _board(name: str, memory_gb_s: float, int8: float, fp16: float, cores: int, gpu_mhz: float) -> Board:
    # float32 products of tensor cores are TF32, at half of float16's rate.
    cuda_tflops = round(2 * cores * gpu_mhz / 1e6, 2)
    return Board(name, memory_gb_s, {"int8": int8, "fp16": fp16, "fp32": fp16 / 2}, cuda_tflops, gpu_mhz)


BOARDS = {
    "orin-nano": _board("Orin Nano 8GB", 68, 20, 10, 1024, 625),
    "orin-nano-super": _board("Orin Nano Super 8GB", 102, 33, 16.7, 1024, 1020),
    "orin-nx": _board("Orin NX 16GB", 102, 30, 15, 1024, 918),
    "orin-nx-super": _board("Orin NX Super 16GB", 102, 38, 19, 1024, 1173),
    "agx-orin-32": _board("AGX Orin 32GB", 205, 53, 27, 1792, 930),
    "agx-orin": _board("AGX Orin 64GB", 205, 85, 43, 2048, 1300),
    "thor": _board("AGX Thor T5000", 273, 517, 258, 2560, 1570),
}


def board(name: str) -> Board:
    """Return the board of a name; raises UsageError for others."""
    if name not in BOARDS:
        raise UsageError(f"device: wanted {', '.join(BOARDS)}, got {name}")
    return BOARDS[name]
