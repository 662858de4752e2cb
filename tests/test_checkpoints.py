"""Every wrapping that trainers put around a state_dict is taken off; what is no state_dict is refused in one line."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints import Checkpoint, load_checkpoint, load_weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def prefixed(state: dict) -> dict:
    return {f"module.{name}": value for name, value in state.items()}


WRAPPINGS = {
    "bare": lambda state: state,
    "net": lambda state: {"net": state, "epoch": 3},
    "ema_net before net": lambda state: {"net": {k: v + 1 for k, v in state.items()}, "ema_net": state},
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "state_dict": lambda state: {"state_dict": state},
    "module.": prefixed,
    "module.module. in net": lambda state: {"net": prefixed(prefixed(state))},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_takes_off(wrapping: str, tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(WRAPPINGS[wrapping](state), tmp_path / "weights.pth")
    found = load_checkpoint(tmp_path / "weights.pth").state_dict
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = network().state_dict()
    save_file(prefixed(state), tmp_path / "weights.safetensors")
    found = load_checkpoint(tmp_path / "weights.safetensors").state_dict
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_reads_what_a_training_run_says_of_itself(tmp_path: Path) -> None:
    about = {"architecture": "yolo_nas", "variant": "slim", "labels": ["nut", "bolt"], "image_size": 320, "format": 1}
    torch.save({"model": network().state_dict(), **about}, tmp_path / "a.pt")
    found = load_checkpoint(tmp_path / "a.pt")
    assert (found.architecture, found.variant) == ("yolo_nas", "slim")
    assert (found.labels, found.image_size) == (("nut", "bolt"), 320)
    torch.save(network().state_dict(), tmp_path / "b.pt")
    bare = load_checkpoint(tmp_path / "b.pt")
    assert (bare.architecture, bare.variant, bare.labels, bare.image_size) == (None, None, None, None)


class Thing:
    """Something that only unpickling with code execution could bring back."""


def _cut(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:500])


BAD = {
    "a thing": (lambda path: torch.save({"net": Thing()}, path), "holds more than weights"),
    "cut short": (_cut, "damaged or something else"),
    "text": (lambda path: path.write_text("hello\n"), "damaged or something else"),
    "empty": (lambda path: path.write_bytes(b""), "damaged or something else"),
    "a list": (lambda path: torch.save([torch.zeros(1)], path), "got list"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "got epoch"),
    "nothing": (lambda path: torch.save({}, path), "got nothing"),
    "missing": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str, tmp_path: Path) -> None:
    write, said = BAD[case]
    write(tmp_path / "bad.pth")
    with pytest.raises(BundleError, match=said) as caught:
        load_checkpoint(tmp_path / "bad.pth")
    assert str(caught.value).startswith(str(tmp_path / "bad.pth"))
    assert "\n" not in str(caught.value)


def test_refuses_damaged_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"hello")
    with pytest.raises(BundleError, match="damaged"):
        load_checkpoint(tmp_path / "bad.safetensors")


def test_loads_all_of_it_or_nothing() -> None:
    source, target = network(), network()
    nn.init.uniform_(source[0].weight)
    state = dict(source.state_dict())
    del state["1.num_batches_tracked"]
    load_weights(target, Checkpoint(Path("w.pth"), state))
    assert torch.equal(target[0].weight, source[0].weight)

    before = target[0].weight.clone()
    state = {f"other.{i}": torch.zeros(1) for i in range(5)} | {"0.weight": torch.zeros(1), "0.bias": torch.zeros(4)}
    with pytest.raises(BundleError) as caught:
        load_weights(target, Checkpoint(Path("w.pth"), state))
    message = str(caught.value)
    assert "w.pth: not the weights of this Sequential" in message
    assert "4 missing (1.weight, 1.bias, 1.running_mean, ...)" in message
    assert "5 unexpected (other.0, other.1, other.2, ...)" in message
    assert "0.weight (1,) for (4, 3, 3, 3)" in message
    assert torch.equal(target[0].weight, before)
