"""What a file is by its bytes, whatever its name says: for the message where another kind was wanted."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import BinaryIO

from nanoseg.errors import BundleError, NanosegError
from nanoseg.utils.foreign_files import HTML, FileKind, foreign_kind
from nanoseg.utils.protobuf import read_fields
from nanoseg.utils.read_file import check_file, open_file
from nanoseg.utils.zip_directory import TooLargeError, read_directory

TORCH, SAFETENSORS, ONNX, PICKLE, UNKNOWN = "torch", "safetensors", "onnx", "pickle", "unknown"

_HEAD = 4096
MAX_HEADER_BYTES = 100_000_000  # of safetensors; the library's own limit
_TORCH_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the first pickle of torch.save before 1.6
_SAVE = "save its weights anew: torch.save(network.state_dict(), FILE)"


def describe_file(path: str | Path, error: type[NanosegError] = BundleError) -> FileKind:
    """Return what a file is by its content; raises `error` where it cannot be read."""
    size = check_file(path, error)
    with open_file(path, error) as file:
        head = file.read(_HEAD)
        if not head:
            return FileKind("empty", "an empty file; fetch or export it again")
        if 2 <= int.from_bytes(head[:8], "little") <= min(size - 8, MAX_HEADER_BYTES) and head[8:9] == b"{":
            return FileKind(SAFETENSORS, "a safetensors file")  # before others, as a length may look like anything
        if head.startswith(b"PK"):
            return _zip_kind(file)
        if (kind := foreign_kind(head)) is not None:
            return _web_page(head) if kind.name == HTML else kind
        if head[:1] == b"\x80" and head[1:2] <= b"\x05":
            if _TORCH_MAGIC in head[:32]:
                return FileKind(TORCH, "a checkpoint of torch.save")
            return FileKind(PICKLE, f"a Python pickle, which is never loaded; {_SAVE}")
        return _protobuf_kind(file, size, head) or _text_kind(head) or _unknown(head)


def _web_page(head: bytes) -> FileKind:
    title = re.search(r"<title[^>]*>([^<]{1,80})", head.decode("utf-8", errors="replace"), re.IGNORECASE)
    said = f', "{" ".join(title[1].split())}",' if title else ""
    return FileKind(HTML, f"a web page{said} in place of the file; download it again, from a browser for example")


def _zip_kind(file: BinaryIO) -> FileKind:
    try:
        names = [entry.filename for entry in read_directory(file, 1 << 62)]
    except (zipfile.BadZipFile, TooLargeError):
        return FileKind("zip", "a zip archive or checkpoint that is cut short or damaged; fetch it again")
    last = {name.rpartition("/")[2] for name in names}
    if any("/code/" in name for name in names) or "constants.pkl" in last:
        save = "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        return FileKind("torchscript", f"a TorchScript archive; save its weights: {save}")
    if "data.pkl" in last:
        return FileKind(TORCH, "a checkpoint of torch.save")
    if any("serialized_exported_program" in name or name.endswith("archive_format") for name in names):
        return FileKind("pt2", f"a program of torch.export; {_SAVE}")
    if "model.weights.h5" in last:
        return FileKind("keras", "a Keras model; export the network as ONNX")
    if names and all(name.endswith(".npy") for name in names):
        return FileKind("npz", "an .npz file of NumPy arrays")
    listed = ", ".join(sorted(last - {""})[:3]) or "nothing"
    return FileKind("zip", f"a zip archive of {listed}; unpack it, and give the file in it")


def _protobuf_kind(file: BinaryIO, size: int, head: bytes) -> FileKind | None:
    """Return the kind of a file that begins like a protobuf message of a network."""
    if head[:1] not in b"\x08\x0a\x12\x3a\x42" or size > 2**31 + _HEAD:
        return None
    if head[:1] == b"\x0a":
        if b"feed" in head and b"fetch" in head:
            return FileKind("paddle", "a PaddlePaddle model; export the network as ONNX, by paddle2onnx")
        if b"Placeholder" in head or b"Const" in head:
            return FileKind("tensorflow", "a TensorFlow graph; export the network as ONNX, by tf2onnx")
    if head[:3] == b"\x08\x01\x12" and b"serve" in head:
        return FileKind("tensorflow", "a TensorFlow SavedModel; export the network as ONNX, by tf2onnx")
    numbers = set()
    try:
        # ModelProto: ir_version 1, producer 2 and 3, graph 7, opsets 8; the graph may end behind this head.
        for number, _ in read_fields(memoryview(head)):
            numbers.add(number)
    except ValueError:
        numbers.add(7)
    if numbers <= {*range(1, 9), 14, 20, 25, 26} and (1 in numbers or 8 in numbers):
        return FileKind(ONNX, "an ONNX model")
    return None


def _text_kind(head: bytes) -> FileKind | None:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not a letter that the end of the head cuts
            return None
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        return None
    start = text.lstrip()[:200].lower()
    if start.startswith(("<?xml", "<net")):
        return FileKind("xml", "an XML text, as of OpenVINO; give the ONNX file that it was converted from")
    if start.startswith(("{", "[")):
        return FileKind("json", "a JSON text")
    return FileKind("text", f"a text that begins {' '.join(text.split())[:30]!r}")


def _unknown(head: bytes) -> FileKind:
    if not any(head):
        return FileKind("zeros", "zeros: a download that was cut, or space that was only reserved; fetch it again")
    return FileKind(UNKNOWN, f"something that begins with the bytes {head[:8].hex(' ')}")
