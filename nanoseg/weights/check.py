"""Check that a file holds weights and is complete, by its bytes alone, for files without a published checksum."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.utils.describe_file import MAX_HEADER_BYTES, ONNX, SAFETENSORS, TORCH, describe_file
from nanoseg.utils.protobuf import mapped_file, read_fields
from nanoseg.utils.read_file import open_file

GRAPH, OPSETS = 7, 8  # fields of onnx.proto's ModelProto that every model has


def check_weights(path: Path, name: str) -> None:
    """Check that a file is complete and of the kind that its name says.

    .onnx, .safetensors, .pt and .pth are known, other kinds pass. The content is not checked: loading it does that.

    Args:
        path: The file.
        name: Its final name, whose suffix says its kind.

    Raises:
        SourceError: The file is of another kind, or incomplete; the message says what it is.
    """
    if (known := _CHECKS.get(Path(name).suffix)) is None:
        return
    wanted, kind, is_complete = known
    got = describe_file(path, SourceError)
    if not is_complete(path):
        what = "a part of one" if got.name == kind else got.text.partition(";")[0]
        raise SourceError(f"{name}: wanted {wanted}, complete; got {what}; give another address: --url")


def _torch(path: Path) -> bool:
    """Check for a zip, whose directory is at its end, or, of torch before 1.6, for the beginning of its pickle."""
    return describe_file(path, SourceError).name == TORCH


def _safetensors(path: Path) -> bool:
    """Check for eight bytes of length, a JSON header of that length, and the tensors that it lists."""
    with open_file(path, SourceError) as file:
        size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
            return bool(8 + length + max(ends, default=0) == size)
        except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
            return False


def _onnx(path: Path) -> bool:
    """Check for a protobuf message with complete fields, among them those of a ModelProto."""
    try:
        with mapped_file(path) as content:
            return {GRAPH, OPSETS} <= {number for number, _ in read_fields(content)}
    except (ValueError, OSError):  # OSError: larger than the memory that can be addressed
        return False


# What a suffix promises: for the message, the kind of describe_file, and the check.
_CHECKS: dict[str, tuple[str, str, Callable[[Path], bool]]] = {
    ".onnx": ("an ONNX model", ONNX, _onnx),
    ".safetensors": ("safetensors", SAFETENSORS, _safetensors),
    ".pt": ("a file of torch.save", TORCH, _torch),
    ".pth": ("a file of torch.save", TORCH, _torch),
}
