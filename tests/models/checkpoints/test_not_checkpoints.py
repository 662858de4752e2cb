"""Files that are no checkpoints of weights are named for what they are; averaged weights are read."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints import files
from nanoseg.models.checkpoints.load import load_checkpoint, load_weights
from nanoseg.onnx_graphs.model.load import read_model
from tests.helpers.zip_bombs import bomb, claim

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 76046234\n"
PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors", "a.onnx", "a.pth.tar", "a.bin", "a"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (PAGE, 'a web page, "Google Drive - Quota exceeded", in place of the file'),
        (LFS, "a Git LFS pointer, not the file"),
        (b"ftrt" + bytes(99), "a TensorRT engine"),
        (b"\x89HDF\r\n\x1a\n", "a Keras or HDF5 file"),
    ],
)
def test_what_is_no_network_is_named(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BundleError) as raised:
        load_checkpoint(path)
    assert str(raised.value).startswith(f"{path}: wanted a checkpoint, got {said}")
    with pytest.raises(BundleError) as raised:
        read_model(path)
    assert str(raised.value).startswith(f"{path}: wanted an ONNX model, got {said}")


@pytest.mark.parametrize("name", ["x.pth.tar", "pytorch_model.bin", "x.onnx", "x.safetensors", "x"])
@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoint_under_any_name(tmp_path, name, legacy):
    torch.save(network().state_dict(), tmp_path / name, _use_new_zipfile_serialization=not legacy)
    assert list(load_checkpoint(tmp_path / name).state_dict) == list(network().state_dict())
    with pytest.raises(BundleError, match=r"wanted an ONNX model, got a checkpoint of torch\.save"):
        read_model(tmp_path / name)


@pytest.mark.parametrize("holder", [lambda state: state, lambda state: {"model": state}])
@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel])
def test_averaged_model(tmp_path, wrap, holder):
    averaged = torch.optim.swa_utils.AveragedModel(wrap(network()))
    torch.save(holder(averaged.state_dict()), tmp_path / "a.pth")
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    load_weights(network(), checkpoint)
    assert list(checkpoint.state_dict) == list(network().state_dict())


def changed(**values):
    return {**network().state_dict(), **values}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: changed(**{"0.bias": torch.tensor([1, float("nan"), 1])}), "0.bias: has NaN or infinite values"),
        (lambda: changed(**{"0.bias": torch.tensor([1, float("inf"), 1])}), "0.bias: has NaN or infinite values"),
        (lambda: {k: torch.zeros_like(v) for k, v in network().state_dict().items()}, "every weight is zero"),
        (lambda: network().to("meta").state_dict(), "0.weight: is on the device meta, without values"),
        (lambda: changed(**{"0.bias": torch.ones(3).to_sparse()}), "0.bias: wanted plain numbers, got a sparse"),
    ],
)
def test_values_that_no_network_has(tmp_path, state, message):
    torch.save(state(), tmp_path / "a.pth")
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    with pytest.raises(BundleError, match=rf"a\.pth: {message}"):
        load_weights(network(), checkpoint)


@pytest.mark.filterwarnings("ignore:.*torch\\.jit.*:DeprecationWarning")
def test_torchscript(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pt")
    with pytest.raises(BundleError, match=r"wanted a checkpoint, got a TorchScript archive;"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: bomb(path, ["a/data.pkl", "a/data/0"], 4 << 20), "unpacks to 8.39 MB; wanted at most 1 MB"),
        (lambda path: claim(path, 4_000_000_000), "unpacks to .* GB; wanted at most 1 MB, 8 times its size"),
    ],
)
def test_checkpoint_that_is_a_bomb(tmp_path, monkeypatch, damage, message):
    monkeypatch.setattr(files, "_MIN_UNPACKED", 1_000_000)
    torch.save(network().state_dict(), tmp_path / "a.pth")
    damage(tmp_path / "a.pth")
    with pytest.raises(BundleError, match=rf"a\.pth: {message}"):
        load_checkpoint(tmp_path / "a.pth")


def test_load_checkpoint_refuses_a_changed_byte(tmp_path: Path) -> None:
    path = tmp_path / "rot.pth"
    torch.save({"weight": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.tensor(500.0).numpy().tobytes()) + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"rot.pth: rot/data/0 in it is damaged, its checksum differs; fetch it"):
        load_checkpoint(path)


def test_load_checkpoint_takes_files_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(tmp_path / "a.pth").state_dict["weight"].tolist() == [1, 1, 1]


def test_load_checkpoint_passes_no_warning_of_torch(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"weight": Path("a")}, protocol=4))
    with pytest.raises(BundleError, match=r"a\.pth: "):
        load_checkpoint(tmp_path / "a.pth")
    assert not recwarn.list


def test_name_of_an_entry_that_is_no_text(tmp_path: Path) -> None:
    """A flag of the entry says UTF-8; zipfile decodes its second copy of the name only when it is read."""
    torch.save({"layer.weight": torch.ones(3)}, path := tmp_path / "a.pth")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x03\x04", 1)
    data[at + 7] |= 0x08
    data[at + 30] = 0xFF
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"a.pth: \S+ in it is damaged"):
        load_checkpoint(path)
