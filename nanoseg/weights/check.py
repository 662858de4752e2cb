"""Check that a file holds weights and is complete, by its bytes alone, for files without a published checksum."""

from __future__ import annotations

import json
import zipfile
from io import BufferedReader
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.utils.protobuf import mapped_file, read_fields

_MAX_HEADER = 100_000_000  # bytes of safetensors' header; the library's own limit
GRAPH, OPSETS = 7, 8  # fields of onnx.proto's ModelProto that every model has


def check_weights(path: Path, name: str) -> None:
    """Check that a file is complete and of the kind that its name says.

    .onnx, .safetensors, .pt and .pth are known, other kinds pass. The content is not checked: loading it does that.

    Args:
        path: The file.
        name: Its final name, whose suffix says its kind.

    Raises:
        SourceError: The file is of another kind, incomplete, or a Git LFS pointer.
    """
    check = {".onnx": _onnx, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}.get(Path(name).suffix)
    if check is None:
        return
    with path.open("rb") as file:
        head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            raise SourceError(f"{name}: got a Git LFS pointer, not the file; give another address: --url")
        file.seek(0)
        if not check(file, path.stat().st_size):
            kind = {".onnx": "an ONNX model", ".safetensors": "safetensors"}.get(
                Path(name).suffix, "a file of torch.save"
            )
            raise SourceError(
                f"{name}: wanted {kind}, complete; got something else or a part of one, beginning {head[:16]!r}"
            )


def _torch(file: BufferedReader, size: int) -> bool:
    """Check for a zip, whose directory is at its end, or, of torch before 1.6, for the first byte of a pickle."""
    return file.read(1) == b"\x80" or zipfile.is_zipfile(file)


def _safetensors(file: BufferedReader, size: int) -> bool:
    """Check for eight bytes of length, a JSON header of that length, and the tensors that it lists."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        return False
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return bool(8 + length + max(ends, default=0) == size)
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return False


def _onnx(file: BufferedReader, size: int) -> bool:
    """Check for a protobuf message with complete fields, among them those of a ModelProto."""
    try:
        with mapped_file(Path(file.name)) as content:
            return {GRAPH, OPSETS} <= {number for number, _ in read_fields(content)}
    except ValueError:
        return False
