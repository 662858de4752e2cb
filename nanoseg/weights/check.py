"""Whether a file is weights at all, and all there: told from its bytes, where nobody published a checksum."""

from __future__ import annotations

import json
import zipfile
from io import BufferedReader
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.utils.protobuf import mapped_file, read_fields

GRAPH, OPSETS = 7, 8  # fields of onnx.proto's ModelProto that every model has


def check_weights(path: Path, name: str) -> None:
    """Raise SourceError unless the file at `path`, to be called `name`, is whole and of the kind its name says.

    .onnx, .safetensors, .pt and .pth are known, others pass. What is inside is not judged: whoever loads it does that.
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
            kind = {".onnx": "an ONNX model", ".safetensors": "safetensors"}.get(Path(name).suffix, "what torch saves")
            raise SourceError(f"{name}: wanted {kind}, whole; got something else or a piece, beginning {head[:16]!r}")


def _torch(file: BufferedReader, size: int) -> bool:
    """A zip, whose directory is at its end; or, of torch before 1.6, a pickle, of which only the first byte tells."""
    return file.read(1) == b"\x80" or zipfile.is_zipfile(file)


def _safetensors(file: BufferedReader, size: int) -> bool:
    """Eight bytes of length, a JSON header of that length, and the tensors that it lists."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        return False
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return bool(8 + length + max(ends, default=0) == size)
    except (ValueError, AttributeError, LookupError, TypeError):
        return False


def _onnx(file: BufferedReader, size: int) -> bool:
    """A protobuf message: every field is as long as it says, and a model's are among them."""
    try:
        with mapped_file(Path(file.name)) as content:
            return {GRAPH, OPSETS} <= {number for number, _ in read_fields(content)}
    except ValueError:
        return False
