"""Jetson boards by what bounds their GPU: memory bandwidth and rates of arithmetic, from NVIDIA's data sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.errors import UsageError


@dataclass(frozen=True)
class Board:
    """Peaks of a board in its fastest power mode."""

    name: str  # for people
    memory_gb_s: float
    tera_ops: Mapping[str, float]  # 1e12 dense operations a second, two a multiply-add, by precision


def _board(name: str, memory_gb_s: float, int8: float, fp16: float) -> Board:
    # float32 products of tensor cores are TF32, at half of float16's rate.
    return Board(name, memory_gb_s, {"int8": int8, "fp16": fp16, "fp32": fp16 / 2})


BOARDS = {
    "orin-nano": _board("Orin Nano 8GB", 68, 20, 10),
    "orin-nano-super": _board("Orin Nano Super 8GB", 102, 33, 16.7),
    "orin-nx": _board("Orin NX 16GB", 102, 30, 15),
    "orin-nx-super": _board("Orin NX Super 16GB", 102, 38, 19),
    "agx-orin": _board("AGX Orin 64GB", 205, 85, 43),
}


def board(name: str) -> Board:
    """Return the board of a name; raises UsageError for others."""
    if name not in BOARDS:
        raise UsageError(f"device: wanted {', '.join(BOARDS)}, got {name}")
    return BOARDS[name]
