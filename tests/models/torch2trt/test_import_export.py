"""torch2trt's files in and out, with bytes in an engine's place."""

import hashlib
import json

import pytest
import torch
from torch import nn

from nanoseg.models.torch2trt.import_engine import import_engine
from nanoseg.models.torch2trt.module import TrtModule, read_trt_module
from tests.helpers.verbs import export_torch2trt, import_torch2trt
from tests.models.torch2trt.modules import INPUTS, OUTPUTS, PLAN, TRTModule, saved

LAYOUTS = {
    "newer": (lambda: TRTModule(PLAN).state_dict(), None),
    "older": (lambda: TRTModule(PLAN, flatteners=False).state_dict(), None),
    "within another module": (lambda: nn.Sequential(nn.Linear(2, 2), TRTModule(PLAN)).state_dict(), None),
    "selected by its prefix": (lambda: nn.Sequential(nn.Linear(2, 2), TRTModule(PLAN)).state_dict(), "1"),
    "in a mapping": (lambda: {"encoder": TRTModule(PLAN).state_dict(), "epoch": 3}, "encoder"),
    "one of two": (lambda: nn.Sequential(TRTModule(b"other"), TRTModule(PLAN)).state_dict(), "1"),
    "without flatteners": (lambda: {**TRTModule(PLAN).state_dict(), "input_flattener": None}, None),
    "bytes": (lambda: {"engine": PLAN, "input_names": INPUTS, "output_names": OUTPUTS}, None),
}


@pytest.mark.parametrize("case", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_read_trt_module(case, zipped, tmp_path):
    made, module = LAYOUTS[case]
    path = tmp_path / "model.pth"
    torch.save(made(), path, _use_new_zipfile_serialization=zipped)
    found = read_trt_module(path, module)
    assert found == TrtModule(PLAN, INPUTS, OUTPUTS)


def test_import_tries_the_engine_and_records_its_origin(tensorrt, tmp_path, capsys):
    source, out = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "new" / "x.engine"
    assert import_torch2trt([str(source), "--out", str(out)]) == 0
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
    assert import_torch2trt([str(source), "--out", str(out)]) == 6
    got = capsys.readouterr().err
    assert got.startswith("nanoseg: error: TensorRT is not installed: ")
    assert got.endswith("--untried\n")
    assert not out.exists()
    assert import_torch2trt([str(source), "--out", str(out), "--untried"]) == 0
    record = json.loads((tmp_path / "x.engine.json").read_text())
    assert (record["tried"], record["tensorrt"], record["inputs"][0]["shape"]) == (False, None, None)


def test_export_and_import_round_trip(tensorrt, tmp_path):
    source = saved(TRTModule(PLAN).state_dict(), tmp_path)
    engine, back, again = tmp_path / "x.engine", tmp_path / "back.pth", tmp_path / "again.engine"
    assert import_torch2trt([str(source), "--out", str(engine)]) == 0
    assert export_torch2trt([str(engine), "--out", str(back)]) == 0
    loaded = TRTModule()
    loaded.load_state_dict(torch.load(back, weights_only=True))
    assert (loaded.plan, loaded.names) == (PLAN, (list(INPUTS), list(OUTPUTS)))
    assert import_torch2trt([str(back), "--out", str(again)]) == 0
    assert again.read_bytes() == PLAN


ONTO_THE_SOURCE = {
    "import onto it": ("x.pth", "x.pth"),
    "import onto it by another way": ("x.pth", "new/../x.pth"),
    "import onto it by a link": ("x.pth", "link"),
    "the record onto it": ("x.engine.json", "x.engine"),
}


@pytest.mark.parametrize("case", ONTO_THE_SOURCE)
def test_import_refuses_to_overwrite_its_source(case, no_tensorrt, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    source, out = (tmp_path / name for name in ONTO_THE_SOURCE[case])
    before = saved(TRTModule(PLAN).state_dict(), tmp_path).rename(source).read_bytes()
    (tmp_path / "link").symlink_to(source)
    there = set(tmp_path.iterdir())
    assert import_torch2trt([str(source), "--out", str(out), "--untried"]) == 2
    got = capsys.readouterr().err
    assert "would be written over" in got
    assert got.count("\n") == 1
    assert source.read_bytes() == before
    assert set(tmp_path.iterdir()) == there


@pytest.mark.parametrize("name", ["x.engine", "x.engine.json", "link"])
def test_export_refuses_to_overwrite_its_source(name, no_tensorrt, tmp_path, capsys):
    engine = tmp_path / "x.engine"
    import_engine(saved(TRTModule(PLAN).state_dict(), tmp_path), engine, untried=True)
    (tmp_path / "link").symlink_to(engine)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert export_torch2trt([str(engine), "--out", str(tmp_path / name)]) == 2
    got = capsys.readouterr().err
    assert "would be written over" in got
    assert got.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_export_takes_names_from_the_flags(tmp_path, capsys):
    engine, out = tmp_path / "x.engine", tmp_path / "x.pth"
    engine.write_bytes(PLAN)
    assert export_torch2trt([str(engine), "--out", str(out), "--inputs", "a"]) == 2
    assert "--outputs: wanted the names" in capsys.readouterr().err
    flags = ["--inputs", "a, b", "--outputs", "c"]
    assert export_torch2trt([str(engine), "--out", str(out), *flags]) == 0
    assert read_trt_module(out) == TrtModule(PLAN, ("a", "b"), ("c",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.engine", "x.pth"]


def test_import_selects_one_of_several_modules(tmp_path, capsys):
    source = saved(nn.Sequential(TRTModule(PLAN), TRTModule(PLAN)).state_dict(), tmp_path)
    flags = [str(source), "--out", str(tmp_path / "x.engine"), "--untried"]
    assert import_torch2trt(flags) == 2
    assert "holds 2 engines; choose one with --module 0 or 1" in capsys.readouterr().err
    assert import_torch2trt([*flags, "--module", "2"]) == 2
    assert "wanted one of '0', '1'" in capsys.readouterr().err
