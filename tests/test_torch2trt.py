"""torch2trt's files in and out: made to the layout of its TRTModule, with bytes in an engine's place."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nanoseg.backends.trt import plan as trt
from nanoseg.errors import BundleError, DependencyError, EngineError
from nanoseg.models.trt_module import TrtModule, read_trt_module
from tests.fake_tensorrt import CLASSES, DataType, TensorIOMode, fake_tensorrt
from tools import export_torch2trt, import_torch2trt

PLAN = b"ftrt" + bytes(range(256)) * 40
TENSORS = {  # in another order than the module gives them
    "input_1": (TensorIOMode.INPUT, DataType.HALF, (1, 4)),
    "output_0": (TensorIOMode.OUTPUT, DataType.FLOAT, (-1, 256, 64, 64)),
    "input_0": (TensorIOMode.INPUT, DataType.FLOAT, (-1, 3, 1024, 1024)),
}
INPUTS, OUTPUTS = ("input_0", "input_1"), ("output_0",)


class TRTModule(nn.Module):
    """What torch2trt's puts into a state_dict, and takes out of one, as its trt_module.py of 2024 does."""

    def __init__(self, plan=None, flatteners=True):
        super().__init__()
        self.plan, self.flatteners = plan, flatteners
        self._register_state_dict_hook(TRTModule.on_state_dict)

    def on_state_dict(self, state, prefix, metadata):
        state[prefix + "engine"] = bytearray(self.plan)
        state[prefix + "input_names"] = list(INPUTS)
        state[prefix + "output_names"] = list(OUTPUTS)
        if self.flatteners:
            state[prefix + "input_flattener"] = {"schema": (0, [1]), "size": 2}
            state[prefix + "output_flattener"] = {"schema": 0, "size": 1}

    def _load_from_state_dict(self, state, prefix, *_):
        self.plan = bytes(state[prefix + "engine"])
        self.names = (state[prefix + "input_names"], state[prefix + "output_names"])
        for key in ("input_flattener", "output_flattener"):
            if key in state:
                assert state[key]["size"] >= 0  # None would fail there


@pytest.fixture
def tensorrt(monkeypatch):
    """The fake library in place of the real ones."""
    module = fake_tensorrt({PLAN: TENSORS})
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def no_tensorrt(monkeypatch):
    for name in trt.LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)


def saved(content, folder: Path) -> Path:
    path = folder / "model.pth"
    torch.save(content, path)
    return path


LAYOUTS = {
    "newer": (lambda: TRTModule(PLAN).state_dict(), None),
    "older": (lambda: TRTModule(PLAN, flatteners=False).state_dict(), None),
    "within another module": (lambda: nn.Sequential(nn.Linear(2, 2), TRTModule(PLAN)).state_dict(), None),
    "asked for by its prefix": (lambda: nn.Sequential(nn.Linear(2, 2), TRTModule(PLAN)).state_dict(), "1"),
    "in a mapping": (lambda: {"encoder": TRTModule(PLAN).state_dict(), "epoch": 3}, "encoder"),
    "one of two": (lambda: nn.Sequential(TRTModule(b"other"), TRTModule(PLAN)).state_dict(), "1"),
    "without flatteners": (lambda: {**TRTModule(PLAN).state_dict(), "input_flattener": None}, None),
    "bytes": (lambda: {"engine": PLAN, "input_names": INPUTS, "output_names": OUTPUTS}, None),
}


@pytest.mark.parametrize("case", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_reads(case, zipped, tmp_path):
    made, module = LAYOUTS[case]
    path = tmp_path / "model.pth"
    torch.save(made(), path, _use_new_zipfile_serialization=zipped)
    found = read_trt_module(path, module)
    assert found == TrtModule(PLAN, INPUTS, OUTPUTS)


def test_import_tries_the_engine_and_notes_its_origin(tensorrt, tmp_path, capsys):
    source, out = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "new" / "x.engine"
    assert import_torch2trt.main([str(source), "--out", str(out)]) == 0
    assert "tried with tensorrt 10.3.0" in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == ["x.engine", "x.engine.json"]
    assert out.read_bytes() == PLAN
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    assert json.loads((out.parent / "x.engine.json").read_text()) == {
        "sha256": hashlib.sha256(PLAN).hexdigest(),
        "bytes": len(PLAN),
        "inputs": [
            {"name": "input_0", "dtype": "float32", "shape": [None, 3, 1024, 1024]},
            {"name": "input_1", "dtype": "float16", "shape": [1, 4]},
        ],
        "outputs": [{"name": "output_0", "dtype": "float32", "shape": [None, 256, 64, 64]}],
        "origin": "model.pth",
        "origin_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "tried": True,
        "tensorrt": "tensorrt 10.3.0",
        "gpu": gpu,
    }


def test_import_untried(no_tensorrt, tmp_path, capsys):
    source, out = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "x.engine"
    assert import_torch2trt.main([str(source), "--out", str(out)]) == 6
    told = capsys.readouterr().err
    assert told.startswith("import_torch2trt: TensorRT is not installed: ")
    assert told.endswith("--untried\n")
    assert not out.exists()
    assert import_torch2trt.main([str(source), "--out", str(out), "--untried"]) == 0
    sidecar = json.loads((tmp_path / "x.engine.json").read_text())
    assert (sidecar["tried"], sidecar["tensorrt"], sidecar["inputs"][0]["shape"]) == (False, None, None)


def test_there_and_back(tensorrt, tmp_path):
    source = saved(TRTModule(PLAN).state_dict(), tmp_path)
    engine, back, again = tmp_path / "x.engine", tmp_path / "back.pth", tmp_path / "again.engine"
    assert import_torch2trt.main([str(source), "--out", str(engine)]) == 0
    assert export_torch2trt.main([str(engine), "--out", str(back)]) == 0
    loaded = TRTModule()
    loaded.load_state_dict(torch.load(back, weights_only=True))
    assert (loaded.plan, loaded.names) == (PLAN, (list(INPUTS), list(OUTPUTS)))
    assert import_torch2trt.main([str(back), "--out", str(again)]) == 0
    assert again.read_bytes() == PLAN


ONTO_THE_SOURCE = {
    "import onto it": ("x.pth", "x.pth"),
    "import onto it by another way": ("x.pth", "new/../x.pth"),
    "import onto it by a link": ("x.pth", "link"),
    "the sidecar onto it": ("x.engine.json", "x.engine"),
}


@pytest.mark.parametrize("case", ONTO_THE_SOURCE)
def test_import_spares_its_source(case, no_tensorrt, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    source, out = (tmp_path / name for name in ONTO_THE_SOURCE[case])
    before = saved(TRTModule(PLAN).state_dict(), tmp_path).rename(source).read_bytes()
    (tmp_path / "link").symlink_to(source)
    there = set(tmp_path.iterdir())
    assert import_torch2trt.main([str(source), "--out", str(out), "--untried"]) == 2
    told = capsys.readouterr().err
    assert "would be written over" in told
    assert told.count("\n") == 1
    assert source.read_bytes() == before
    assert set(tmp_path.iterdir()) == there


@pytest.mark.parametrize("name", ["x.engine", "x.engine.json", "link"])
def test_export_spares_its_source(name, no_tensorrt, tmp_path, capsys):
    engine = tmp_path / "x.engine"
    import_torch2trt.import_engine(saved(TRTModule(PLAN).state_dict(), tmp_path), engine, untried=True)
    (tmp_path / "link").symlink_to(engine)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert export_torch2trt.main([str(engine), "--out", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert "would be written over" in told
    assert told.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_export_takes_names_from_the_flags(tmp_path, capsys):
    engine, out = tmp_path / "x.engine", tmp_path / "x.pth"
    engine.write_bytes(PLAN)
    assert export_torch2trt.main([str(engine), "--out", str(out), "--inputs", "a"]) == 2
    assert "--outputs: wanted the names" in capsys.readouterr().err
    flags = ["--inputs", "a, b", "--outputs", "c"]
    assert export_torch2trt.main([str(engine), "--out", str(out), *flags]) == 0
    assert read_trt_module(out) == TrtModule(PLAN, ("a", "b"), ("c",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.engine", "x.pth"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


BAD = {
    "a whole module": (lambda: TRTModule(PLAN), "was not loaded; .*torch.save its state_dict"),
    "a pickle that runs code": (lambda: {"engine": bytearray(PLAN), "input_names": Evil()}, "was not loaded"),
    "no engine": (lambda: nn.Linear(2, 2).state_dict(), "found no 'engine'"),
    "an engine that is a tensor": (lambda: {"engine": torch.zeros(3)}, "found no 'engine'"),
    "a list": (lambda: [1, 2], "found no 'engine'"),
    "an empty engine": (lambda: {**TRTModule(PLAN).state_dict(), "engine": bytearray()}, "its engine is empty"),
    "no names": (lambda: {"engine": PLAN}, "'input_names' wants the names of tensors, got None"),
    "names that are numbers": (lambda: {**TRTModule(PLAN).state_dict(), "output_names": [1]}, r"'output_names'.*\[1\]"),
    "a name twice": (lambda: {**TRTModule(PLAN).state_dict(), "input_names": ["a", "a"]}, "'input_names'"),
}
BAD_ENGINES = {
    "other names": (lambda: {**TRTModule(PLAN).state_dict(), "output_names": ["mask"]}, "outputs mask, its engine has"),
    "a truncated engine": (
        lambda: TRTModule(PLAN[:-1]).state_dict(),
        "tensorrt 10.3.0 cannot load this engine: IRuntime::deserializeCudaEngine: Error Code 1: magic tag is wrong",
    ),
}


@pytest.mark.parametrize("case", [*BAD, *BAD_ENGINES])
def test_refuses(case, tensorrt, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made, said = {**BAD, **BAD_ENGINES}[case]
    kind = BundleError if case in BAD else EngineError
    source = saved(made(), tmp_path)
    assert import_torch2trt.main([str(source), "--out", str(tmp_path / "x.engine")]) == kind.exit_code
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    with pytest.raises(kind, match=said):
        import_torch2trt.import_engine(source, tmp_path / "x.engine")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_refuses_a_damaged_file(tmp_path):
    whole = saved(TRTModule(PLAN).state_dict(), tmp_path).read_bytes()
    cut = tmp_path / "cut.pth"
    for end in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:end])
        with pytest.raises(BundleError, match=r"cut\.pth"):
            read_trt_module(cut)
    with pytest.raises(BundleError, match="found no such file"):
        read_trt_module(tmp_path / "nothing.pth")


def test_which_of_several(tmp_path, capsys):
    source = saved(nn.Sequential(TRTModule(PLAN), TRTModule(PLAN)).state_dict(), tmp_path)
    flags = [str(source), "--out", str(tmp_path / "x.engine"), "--untried"]
    assert import_torch2trt.main(flags) == 2
    assert "holds 2 engines; say which: --module 0 or 1" in capsys.readouterr().err
    assert import_torch2trt.main([*flags, "--module", "2"]) == 2
    assert "wanted one of '0', '1'" in capsys.readouterr().err


SPOILT = {
    "another engine": (lambda e, s: e.write_bytes(b"other"), [], 5, "is not the engine of"),
    "a damaged sidecar": (lambda e, s: s.write_text("{"), [], 5, "wanted the sidecar of an engine"),
    "an empty engine": (lambda e, s: e.write_bytes(b""), [], 5, "got an empty file"),
    "no engine": (lambda e, s: e.unlink(), [], 5, "cannot be read"),
    "names that it does not have": (lambda e, s: None, ["--inputs", "image"], 2, "wanted input_0, input_1 of"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_export_refuses(case, tmp_path, capsys):
    spoil, flags, code, said = SPOILT[case]
    source, engine = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "x.engine"
    import_torch2trt.import_engine(source, engine, untried=True)
    spoil(engine, import_torch2trt.sidecar_of(engine))
    assert export_torch2trt.main([str(engine), "--out", str(tmp_path / "out.pth"), *flags]) == code
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out.pth").exists()


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    source, taken = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("so that it is not replaced")
    assert import_torch2trt.main([str(source), "--out", str(taken), "--untried"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "x.engine").write_bytes(PLAN)
    flags = ["--inputs", "a", "--outputs", "b"]
    assert export_torch2trt.main([str(tmp_path / "x.engine"), "--out", str(taken / "file" / "x.pth"), *flags]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth", "taken", "x.engine"]


def test_describe(tensorrt):
    found = trt.describe(PLAN)
    assert (found.library, found.version) == ("tensorrt", "10.3.0")
    assert found.names(inputs=True) == ("input_1", "input_0")
    assert found.names(inputs=False) == OUTPUTS
    assert found.tensors[2] == trt.PlanTensor("input_0", "float32", (None, 3, 1024, 1024), True)


def test_describe_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt({}, starts=False))
    with pytest.raises(EngineError, match=r"tensorrt 10\.3\.0 cannot start on this device: CUDA init.* error: 35"):
        trt.describe(PLAN)


def test_describe_falls_back_on_tensorrt_for_rtx(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    module = fake_tensorrt({PLAN: TENSORS}, version="1.7.1")
    module.__name__ = "tensorrt_rtx"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    assert trt.describe(PLAN).library == "tensorrt_rtx"


def test_a_library_that_misses_another(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open\\nshared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(DependencyError, match=r"tensorrt cannot be loaded: libnvinfer\.so\.10: cannot open shared"):
        trt.describe(PLAN)


@pytest.mark.parametrize("version", ["10.3", "10.13", "11.4", "rtx-1.7"])
def test_the_fake_has_nothing_that_tensorrt_has_not(version, shared):
    known = json.loads((shared / "tensorrt-api" / f"{version}.json").read_text())
    module = fake_tensorrt({})
    for kind in (*CLASSES, module.Runtime):
        assert kind.__name__ in known["tensorrt"]
        assert {name for name in vars(kind) if not name.startswith("_")} <= set(known[kind.__name__])
