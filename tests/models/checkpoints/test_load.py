"""load_checkpoint reads every trainer's layout of a state_dict, executes nothing, and refuses other files."""

import argparse
import os
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint, load_weights


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
    "_orig_mod.": lambda state: {"model": {f"_orig_mod.{name}": value for name, value in state.items()}},
    "an empty ema_net": lambda state: {"ema_net": {}, "net": state},
    "ema_net of None": lambda state: {"ema_net": None, "net": state},
    "module.": prefixed,
    "module.module. in net": lambda state: {"net": prefixed(prefixed(state))},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_load_checkpoint_removes_wrappers(wrapping: str, tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(WRAPPINGS[wrapping](state), tmp_path / "weights.pth")
    found = load_checkpoint(tmp_path / "weights.pth").state_dict
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_load_checkpoint_of_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = network().state_dict()
    save_file(prefixed(state), tmp_path / "weights.safetensors")
    found = load_checkpoint(tmp_path / "weights.safetensors").state_dict
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_load_checkpoint_reads_the_description(tmp_path: Path) -> None:
    about = {"architecture": "yolo_nas", "variant": "slim", "labels": ["nut", "bolt"], "format": 1}
    about |= {"image_size": 320, "rescale_px": 310}
    torch.save({"model": network().state_dict(), **about}, tmp_path / "a.pt")
    found = load_checkpoint(tmp_path / "a.pt")
    assert (found.architecture, found.variant) == ("yolo_nas", "slim")
    assert (found.labels, found.image_size, found.rescale_px) == (("nut", "bolt"), 320, 310)
    torch.save(network().state_dict(), tmp_path / "b.pt")
    bare = load_checkpoint(tmp_path / "b.pt")
    assert (bare.architecture, bare.variant, bare.labels, bare.image_size, bare.rescale_px) == (None,) * 5


class CustomClass:
    """A class that only unpickling with code execution could restore."""


class Foreign:
    """An object of a library that is not installed when the file is read."""

    def __reduce__(self) -> tuple:
        return type(self), (1, "two"), {"state": 3}


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """A function that makes an object whose pickle refers to `module.name`."""

    def make(path: str) -> object:
        module, _, name = path.rpartition(".")
        kind = type(name, (Foreign,), {"__module__": module})
        if (package := module.partition(".")[0]) not in sys.modules:
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: kind}))
        return kind()

    return make


@pytest.mark.parametrize(
    "path",
    [
        "numpy.core.multiarray.scalar",  # NumPy 1's scalars
        "numpy._core.multiarray._reconstruct",
        "pathlib._local.PosixPath",  # Python 3.13's paths
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
    ],
)
def test_load_checkpoint_ignores_objects_of_missing_libraries(
    path: str, foreign: Callable[[str], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"net": network().state_dict(), "acc": foreign(path), "epoch": 3}, tmp_path / "a.pth")
    monkeypatch.undo()
    assert list(load_checkpoint(tmp_path / "a.pth").state_dict) == list(network().state_dict())


def test_load_checkpoint_ignores_other_entries(tmp_path: Path) -> None:
    others = {
        "acc": np.float64(0.5),
        "metrics": {"mAP": np.float32(0.5), "confusion": np.ones((2, 2)), "seen": np.int64(3), "kind": np.dtype("f4")},
        "names": np.array(["nut", "bolt"]),
        "path": tmp_path,
        "args": argparse.Namespace(lr=0.1),
        "torch": torch.__version__,
        "ids": {1, 2},
        "order": OrderedDict(a=1),
        "size": torch.Size([1, 2]),
        "best": torch.tensor(0.5),
    }
    torch.save({"net": network().state_dict(), **others}, tmp_path / "a.pth")
    found = load_checkpoint(tmp_path / "a.pth")
    assert list(found.state_dict) == list(network().state_dict())
    assert found.labels is None


CONTAINERS = {
    "a defaultdict of int": defaultdict(int, epoch=3, step=4),
    "a defaultdict of list": defaultdict(list, loss=[0.5, 0.25]),
    "a deque": deque([0.5, 0.25], maxlen=2),
    "no bytes": b"",
    "bytes": b"two",
    "an empty array": np.zeros((0, 4)),
    "an empty array of text": np.array([], "U4"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_load_checkpoint_ignores_containers(kind: str, tmp_path: Path) -> None:
    torch.save({"net": network().state_dict(), "kept": [CONTAINERS[kind]], "epoch": 3}, tmp_path / "a.pth")
    assert list(load_checkpoint(tmp_path / "a.pth").state_dict) == list(network().state_dict())


def test_load_checkpoint_allocates_no_bytes(tmp_path: Path) -> None:
    """bytes(10 ** 15) would be a petabyte."""
    torch.save({"net": network().state_dict(), "kept": Call(bytes, 10**15)}, tmp_path / "a.pth")
    assert list(load_checkpoint(tmp_path / "a.pth").state_dict) == list(network().state_dict())


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_checkpoint_origin_names_the_weights(wrapping: str, tmp_path: Path) -> None:
    torch.save(WRAPPINGS[wrapping](network().state_dict()), tmp_path / "weights.pth")
    found = load_checkpoint(tmp_path / "weights.pth")
    wanted = {"ema_net before net": "ema_net", "_orig_mod.": "model", "bare": None, "module.": None}
    holder = wanted.get(wrapping, wrapping if wrapping in ("net", "model", "state_dict") else "net")
    assert found.holder == holder
    _, _, rest = found.origin.partition(" sha256 ")
    assert rest[64:] == ("" if holder is None else f", its {holder}")


class Call:
    """Pickled as a call that unpickling makes."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def _harm(kind: str, path: Path) -> object:
    """An object that creates `path` when it is unpickled."""
    script = f"open({str(path)!r}, 'w').close()"
    calls = {
        "system": Call(os.system, f"touch {path}"),
        "exec": Call(exec, script),
        "open": Call(open, str(path), "w"),
        "subprocess": Call(subprocess.call, ["touch", str(path)]),
        "path": Call(Path.touch, path),
    }
    return calls[kind]


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize("beside_weights", [False, True])
@pytest.mark.parametrize("kind", ["system", "exec", "open", "subprocess", "path"])
def test_load_checkpoint_runs_no_code(kind: str, beside_weights: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = {"net": network().state_dict(), "acc": _harm(kind, trace)} if beside_weights else _harm(kind, trace)
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(BundleError, match=r"holds more than weights \(\S+\) and was not loaded") as caught:
        load_checkpoint(tmp_path / "bad.pth")
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    torch.load(tmp_path / "bad.pth", weights_only=False)
    assert trace.exists()  # plain unpickling runs the code


def _cut(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:500])


BAD = {
    "a custom class": (
        lambda path: torch.save({"net": CustomClass()}, path),
        r"holds more than weights \(tests\S+CustomClass\)",
    ),
    "a network": (lambda path: torch.save(network(), path), r"holds more than weights \(torch.nn\S+Sequential\)"),
    "cut short": (_cut, "got a zip archive or checkpoint that is cut short"),
    "text": (lambda path: path.write_text("hello\n"), "got a text that begins 'hello'"),
    "empty": (lambda path: path.write_bytes(b""), "got an empty file"),
    "a list": (lambda path: torch.save([torch.zeros(1)], path), "got list"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "got epoch"),
    "nothing": (lambda path: torch.save({}, path), "got nothing"),
    "missing": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_load_checkpoint_refuses_files(case: str, tmp_path: Path) -> None:
    write, message = BAD[case]
    write(tmp_path / "bad.pth")
    with pytest.raises(BundleError, match=message) as caught:
        load_checkpoint(tmp_path / "bad.pth")
    assert str(caught.value).startswith(str(tmp_path / "bad.pth"))
    assert "\n" not in str(caught.value)


def test_load_checkpoint_refuses_damaged_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "bad.safetensors").write_bytes((20).to_bytes(8, "little") + b'{"a": 1}' + bytes(20))
    with pytest.raises(BundleError, match="damaged"):
        load_checkpoint(tmp_path / "bad.safetensors")


def test_load_weights_loads_all_or_nothing() -> None:
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


def test_load_weights_rounded_with_their_counters(tmp_path: Path) -> None:
    """{name: value.half()} also rounds the counters of BatchNorms, beyond 65,504 to infinity."""
    state = network().state_dict()
    state["1.num_batches_tracked"] = torch.tensor(400_000)
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "half.pth")
    loaded = network()
    load_weights(loaded, load_checkpoint(tmp_path / "half.pth"))
    assert torch.equal(loaded[0].weight, state["0.weight"].half().float())


def test_load_weights_refuses_quantized_weights() -> None:
    target = network()
    state = target.state_dict()
    state["0.weight"] = (state["0.weight"] * 100).to(torch.int8)
    with pytest.raises(BundleError, match=r"1 of another type \(0.weight torch.int8\)"):
        load_weights(target, Checkpoint(Path("w.pth"), state))


class WithoutBias(nn.Linear):
    unused_keys = ("bias",)


def test_load_weights_allows_missing_unused_keys() -> None:
    target = nn.Sequential(nn.Linear(2, 2), WithoutBias(2, 2))
    state = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "1.weight": torch.ones(2, 2)}
    load_weights(target, Checkpoint(Path("w.pth"), state))
    assert torch.equal(target[1].weight, torch.ones(2, 2))
    del state["0.bias"]
    with pytest.raises(BundleError, match=r"not the weights of a pair: 1 missing \(0.bias\)$"):
        load_weights(target, Checkpoint(Path("w.pth"), state), kind="a pair")
