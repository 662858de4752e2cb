"""What a file is by its bytes, under any name."""

import zipfile

import pytest

from nanoseg.bundle.bundle import EMBEDDED_FOLDER
from nanoseg.errors import BundleError
from nanoseg.utils.describe_file import describe_file

SAFETENSORS = (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4))
KINDS = [
    (b"", "empty", "an empty file"),
    (b"<!DOCTYPE html><html><title>Quota\nexceeded</title>", "html", 'a web page, "Quota exceeded",'),
    (b"\n<html><body>Sign in</body></html>", "html", "a web page in place of the file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "lfs", "a Git LFS pointer"),
    (b"ftrt" + bytes(40), "engine", "a TensorRT engine"),
    (b"\x89HDF\r\n\x1a\n" + bytes(40), "hdf5", "a Keras or HDF5 file"),
    (b"\x1c\0\0\0TFL3" + bytes(40), "tflite", "a TensorFlow Lite model"),
    (b"GGUF\3\0\0\0", "gguf", "a GGUF file"),
    (b"\x0a\x10\x08\x00\x10\xff" + b"feed..fetch", "paddle", "a PaddlePaddle model"),
    (b"\x0a\x20\x0a\x05input\x12\x0bPlaceholder", "tensorflow", "a TensorFlow graph"),
    (b"x" * 257 + b"ustar\0", "tar", "a tar archive; unpack it"),
    (b"\x1f\x8b\x08\0", "gzip", "a gzip archive; unpack it"),
    (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07weights\x94.", "pickle", "a Python pickle, which is never loaded"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch", "a checkpoint of torch.save"),
    (b'{"names": []}', "json", "a JSON text"),
    (b"<?xml version='1.0'?><net name='x'>", "xml", "an XML text, as of OpenVINO"),
    ("Gewichte für YOLO".encode(), "text", "a text that begins 'Gewichte für YOLO'"),
    (bytes(5000), "zeros", "zeros: a download that was cut"),
    (b"PK\3\4" + bytes(100), "zip", "a zip archive or checkpoint that is cut short or damaged"),
    (b"8BPS\0\1", "picture", "a Photoshop file"),
    (b"<svg xmlns='x'>", "picture", "an SVG drawing"),
    (b"\0\0\0\x20ftypisom", "video", "a video"),
    (b"\xfe\xed\xfa\xce" * 4, "unknown", "something that begins with the bytes fe ed fa ce fe ed fa ce"),
    (len(SAFETENSORS[0]).to_bytes(8, "little") + b"".join(SAFETENSORS), "safetensors", "a safetensors file"),
]


@pytest.mark.parametrize(("content", "name", "text"), KINDS, ids=[f"{kind[1]}-{i}" for i, kind in enumerate(KINDS)])
@pytest.mark.parametrize("suffix", [".pth", ".onnx"])
def test_describe_file(tmp_path, content, name, text, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    kind = describe_file(path)
    assert kind.name == name
    assert kind.text.startswith(text)


@pytest.mark.parametrize(
    ("names", "name", "text"),
    [
        (["archive/data.pkl", "archive/version", "archive/data/0"], "torch", "a checkpoint of torch.save"),
        (
            ["script/data.pkl", "script/code/__torch__.py", "script/constants.pkl"],
            "torchscript",
            "a TorchScript archive",
        ),
        (["m/serialized_exported_program.json"], "pt2", "a program of torch.export"),
        (["config.json", "metadata.json", "model.weights.h5"], "keras", "a Keras model"),
        (["logits.npy", "prompts.npy"], "npz", "an .npz file"),
        (["weights/yolo.pth", "readme.txt"], "zip", "a zip archive of readme.txt, yolo.pth; unpack it"),
    ],
)
def test_describe_file_in_a_zip(tmp_path, names, name, text):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for entry in names:
            archive.writestr(entry, b"")
    kind = describe_file(tmp_path / "a.pt")
    assert kind.name == name
    assert kind.text.startswith(text)


@pytest.mark.parametrize("path", sorted((EMBEDDED_FOLDER / "parts").glob("*.onnx")), ids=lambda path: path.stem)
def test_describe_file_knows_onnx(path):
    assert describe_file(path).name == "onnx"


def test_describe_file_that_cannot_be_read(tmp_path):
    with pytest.raises(BundleError, match=r"a\.pth: cannot be read: No such file"):
        describe_file(tmp_path / "a.pth")


@pytest.mark.parametrize("length", [0x0AFF, 0x10000, 0x8B1F])
def test_describe_file_safetensors_whose_length_looks_like_another_kind(tmp_path, length):
    header = SAFETENSORS[0].ljust(length)
    (tmp_path / "a.pth").write_bytes(length.to_bytes(8, "little") + header + SAFETENSORS[1])
    assert describe_file(tmp_path / "a.pth").name == "safetensors"
