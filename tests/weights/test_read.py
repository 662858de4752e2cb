"""Weights read without torch: equal to what was written, and one line for anything that is not a file of weights."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from nanoseg.errors import BundleError
from nanoseg.weights.read import read_weights

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def safetensors(entries, content=b"", header=None):
    text = json.dumps(entries).encode() if header is None else header
    return struct.pack("<Q", len(text)) + text + content


def entry(dtype="F32", shape=(2, 3, 4), offsets=(0, 96)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


KINDS = {
    "F32": VALUES, "F64": VALUES.astype(np.float64), "F16": VALUES.astype(np.float16), "I64": VALUES.astype(np.int64),
    "I8": VALUES.astype(np.int8), "BOOL": VALUES > 3, "BF16": (VALUES.view(np.uint32) >> 16).astype(np.uint16),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_read_safetensors_of_every_type(kind, tmp_path):
    path, data = tmp_path / "w.safetensors", KINDS[kind].tobytes()
    path.write_bytes(safetensors({"__metadata__": {"format": "pt"}, **entry(kind, offsets=(0, len(data)))}, data))
    got = read_weights(path)["w"]
    assert np.array_equal(got, VALUES if kind == "BF16" else KINDS[kind])
    assert got.dtype == (np.float32 if kind == "BF16" else KINDS[kind].dtype)


DAMAGED = {
    "empty": b"",
    "a web page": b"<!DOCTYPE html><html></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n",
    "cut short": safetensors(entry(), VALUES.tobytes()[:-1]),
    "an endless header": struct.pack("<Q", 1 << 40) + b"{}",
    "a deep header": safetensors({}, header=b'{"w":' + b"[" * 100_000),
    "a list": safetensors([]),
    "an unknown type": safetensors(entry("F4"), VALUES.tobytes()),
    "a shape of a terabyte": safetensors(entry(shape=(1 << 40,)), VALUES.tobytes()),
    "negative offsets": safetensors(entry(offsets=(-96, 0)), VALUES.tobytes()),
    "a shape of text": safetensors({"w": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}}, VALUES.tobytes()),
    "no shape": safetensors({"w": {"dtype": "F32"}}),
    "no tensors": safetensors({}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_read_safetensors_refuses(case, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(DAMAGED[case])
    with pytest.raises(BundleError, match=r"w\.safetensors: wanted a ") as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)


class Global:
    """What pickles as a global of any name."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Tensor:
    """What pickles as a tensor of torch.save, protocol 2."""

    def __init__(self, key="0", numbers=24, offset=0, shape=(2, 3, 4), strides=(12, 4, 1), storage="FloatStorage"):
        self.storage = ("storage", Global("torch", storage), key, "cpu", numbers)
        self.rest = (offset, shape, strides, False, OrderedDict())


class Pickler(pickle._Pickler):
    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Tensor):
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.write(b"(")
            super().save(value.storage)
            self.write(b"Q")
            for each in value.rest:
                super().save(each)
            self.write(b"tR")
        else:
            super().save(value, save_persistent_id)


def pickled(value, protocol=2):
    file = io.BytesIO()
    Pickler(file, protocol).dump(value)
    return file.getvalue()


def archive(path, content, storages=None, data=None, compression=zipfile.ZIP_STORED, root="archive/", **more):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{root}data.pkl", pickled(content) if data is None else data)
        for key, values in {"0": VALUES.tobytes()}.items() if storages is None else storages.items():
            file.writestr(f"{root}data/{key}", values)
        for name, text in more.items():
            file.writestr(f"{root}{name}", text)
    return path


def test_read_torch_zip_resolves_strides_offsets_and_shared_storages(tmp_path):
    path = archive(
        tmp_path / "w.pt",
        {
            "model": OrderedDict(
                plain=Tensor(),
                turned=Tensor(shape=(4, 3), strides=(1, 4)),
                part=Tensor(offset=12, shape=(3,), strides=(4,)),
                one=Tensor(offset=23, shape=(), strides=()),
                none=Tensor(shape=(0, 4), strides=(4, 1)),
            ),
            "epoch": 3,
        },
        byteorder="little",
    )
    got, flat = read_weights(path), VALUES.reshape(-1)
    assert np.array_equal(got["plain"], VALUES)
    assert np.array_equal(got["turned"], flat[:12].reshape(3, 4).T)
    assert np.array_equal(got["part"], [12, 16, 20])
    assert got["one"] == 23
    assert got["none"].shape == (0, 4)


@pytest.mark.parametrize(
    ("storage", "values"),
    [("HalfStorage", KINDS["F16"]), ("DoubleStorage", KINDS["F64"]), ("LongStorage", KINDS["I64"]),
     ("BFloat16Storage", KINDS["BF16"]), ("BoolStorage", KINDS["BOOL"])],
)  # fmt: skip
def test_read_torch_zip_of_every_type(storage, values, tmp_path):
    path = archive(tmp_path / "w.pt", {"module.w": Tensor(storage=storage)}, {"0": values.tobytes()})
    assert np.array_equal(read_weights(path)["w"], VALUES if values.dtype == np.uint16 else values)


BOMB = b"\x80\x02]q\x00r\xff\xff\xff\x7f."  # numbers its list 2^31 - 1: the C unpickler would take 16 GB
REFUSED = {
    "code": ({"w": Tensor(), "x": Global("os", "system")}, {}, "it names os.system"),
    "code of torch": ({"w": Tensor(), "x": Global("torch.jit", "load")}, {}, r"it names torch\.jit\.load"),
    "a later protocol": ({}, {"data": pickle.dumps({"a": bytearray(9)}, 5)}, "the instruction FRAME"),
    "an endless memo": ({}, {"data": BOMB}, "numbers more objects"),
    "a deep pickle": ({}, {"data": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."}, "too deep"),
    "a storage of another size": ({"w": Tensor(numbers=25)}, {}, "its storage 0 has 96 bytes"),
    "a tensor larger than its storage": ({"w": Tensor(shape=(9, 9), strides=(9, 1))}, {}, "is larger than its storage"),
    "a tensor of a terabyte": ({"w": Tensor(shape=(1 << 40,), strides=(0,))}, {}, "is larger than its storage"),
    "negative strides": ({"w": Tensor(shape=(2,), strides=(-1,))}, {}, "strides"),
    "an offset behind its end": ({"w": Tensor(offset=24)}, {}, "is larger than its storage"),
    "a storage that is missing": ({"w": Tensor(key="1")}, {}, "data/1"),
    "a path out of it": ({"w": Tensor(key="../../etc/passwd")}, {}, "etc/passwd"),
    "compressed": ({"w": Tensor()}, {"compression": zipfile.ZIP_DEFLATED}, "are compressed"),
    "big-endian": ({"w": Tensor()}, {"byteorder": "big"}, "big-endian"),
    "no weights": ({"epoch": 1}, {}, "wanted a state_dict"),
    "a list": ([Tensor()], {}, "wanted a state_dict"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_read_torch_zip_refuses(case, tmp_path):
    content, options, message = REFUSED[case]
    path = archive(tmp_path / "w.pt", content, **options)
    with pytest.raises(BundleError, match=message) as raised:
        read_weights(path)
    assert str(raised.value).startswith(f"{path}: wanted ")
    assert "\n" not in str(raised.value)


def test_read_torch_zip_expands_shared_containers_once(tmp_path):
    nested = []
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(BundleError, match="wanted a state_dict"):
        read_weights(archive(tmp_path / "w.pt", {"w": Tensor(), "x": nested}))


@pytest.mark.parametrize("data", [b"", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100), b"<html>"])
def test_read_torch_zip_refuses_other_files(data, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"w\.pt: wanted a zip file of torch\.save"):
        read_weights(path)
    with pytest.raises(BundleError, match="found no such file"):
        read_weights(tmp_path / "other.pt")


def test_read_weights_equals_torch(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.randn(6, 8)
    state = {
        "a": base, "b": base.T, "c": base[1:, ::2], "d": base.half(), "e": base.bfloat16(), "f": torch.tensor(3),
        "g": torch.nn.Parameter(base[2]), "h": torch.arange(5) > 2,
    }  # fmt: skip
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 1}, tmp_path / "w.pt")
    got = read_weights(tmp_path / "w.pt")
    assert {
        name: np.array_equal(got[name], value.detach().float().numpy()) for name, value in state.items()
    } == dict.fromkeys(state, True)


@pytest.mark.parametrize("name", ["w", "w.bin", "w.pt", "w.safetensors"])
def test_read_weights_goes_by_content(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(safetensors(entry(), VALUES.tobytes()))
    assert np.array_equal(read_weights(path)["w"], VALUES)
    assert np.array_equal(read_weights(archive(path, {"w": Tensor()}))["w"], VALUES)


def test_read_weights_of_a_modules_state_dict(tmp_path):
    """It is an OrderedDict with an attribute of its own, the modules' versions."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    saved = {"net": module.state_dict(), "epoch": torch.tensor(3), "args": None, "lr": 1e-4, "step": 1 << 40}
    torch.save(saved, tmp_path / "w.pth")
    got = read_weights(tmp_path / "w.pth")
    assert {name: value.shape for name, value in got.items()} == {
        name: tuple(value.shape) for name, value in module.state_dict().items()
    }
