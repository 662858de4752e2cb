"""Files that lie where pictures, videos or weights are wanted, by their first bytes: one table for all messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class FileKind(NamedTuple):
    """A file's kind: `name` for programs, `text` for messages: what it is, and what to do."""

    name: str
    text: str


VIDEO, READABLE_PICTURE, ZIP, HTML = "video", "readable picture", "zip", "html"
_UNPACK = "unpack it, and give the file in it"
_ONNX = "export the network as ONNX"
_ENGINE = "a TensorRT engine; give the ONNX file or the checkpoint that it was built from"
# (name, regular expression, text)
_TABLE: Sequence[tuple[str, bytes, str]] = (
    ("lfs", rb"version https://git-lfs", "a Git LFS pointer, not the file; fetch it with git lfs pull"),
    ("engine", rb"ftrt|ptrt", _ENGINE),
    ("hdf5", rb"\x89HDF\r\n\x1a\n", f"a Keras or HDF5 file; {_ONNX}"),
    ("tflite", rb"....TFL3", f"a TensorFlow Lite model; {_ONNX}"),
    ("gguf", rb"GGUF", "a GGUF file of language models"),
    ("rknn", rb"RKNN", "an RKNN model; give the ONNX file that it was converted from"),
    ("numpy", rb"\x93NUMPY", "a NumPy array"),
    ("tar", rb".{257}ustar", f"a tar archive; {_UNPACK}"),
    ("gzip", rb"\x1f\x8b", f"a gzip archive; {_UNPACK}"),
    ("xz", rb"\xfd7zXZ", f"an xz archive; {_UNPACK}"),
    ("bzip2", rb"BZh", f"a bzip2 archive; {_UNPACK}"),
    ("zstd", rb"\x28\xb5\x2f\xfd", f"a zstd archive; {_UNPACK}"),
    ("7z", rb"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_UNPACK}"),
    ("rar", rb"Rar!", f"a RAR archive; {_UNPACK}"),
    (ZIP, rb"PK\x03\x04", f"a zip archive; {_UNPACK}"),
    (READABLE_PICTURE, rb"\x89PNG|\xff\xd8\xff", "a picture"),
    ("picture", rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    ("picture", rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    ("picture", rb"8BPS", "a Photoshop file"),
    ("picture", rb"\x76\x2f\x31\x01", "an OpenEXR picture"),
    ("picture", rb"#\?R", "a Radiance HDR picture"),
    ("picture", rb"\x00\x00[\x01\x02]\x00", "an icon or cursor"),
    ("picture", rb"FUJIFILMCCD-RAW|....ftypcrx ", "a raw photograph"),
    ("picture", rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?(?i:<svg)", "an SVG drawing"),
    ("appledouble", rb"\x00\x05\x16\x07", "an AppleDouble file, which macOS writes beside another"),
    ("pdf", rb"%PDF", "a PDF document"),
    (HTML, rb"(?i:\s*<(!doctype html|html|head))", "a web page; download the file again, from a browser for example"),
    ("program", rb"\x7fELF", "a program or library"),
    (VIDEO, rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", "a video"),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), FileKind(name, text)) for name, pattern, text in _TABLE)


def foreign_kind(head: bytes) -> FileKind | None:
    """Return what a file is by its beginning, some hundred bytes; None for what is not in the table."""
    return next((kind for pattern, kind in _PATTERNS if pattern.match(head)), None)
