"""torch2trt's files: what is refused, and why."""

import os

import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError, EngineError
from nanoseg.models.torch2trt.import_engine import import_engine
from nanoseg.models.torch2trt.module import read_trt_module
from nanoseg.models.torch2trt.record import record_path
from tests.helpers.verbs import export_torch2trt, import_torch2trt
from tests.models.torch2trt.modules import PLAN, TRTModule, saved


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
    "no names": (lambda: {"engine": PLAN}, "'input_names': wanted tensor names, got None"),
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
def test_import_refuses(case, tensorrt, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made, text = {**BAD, **BAD_ENGINES}[case]
    kind = BundleError if case in BAD else EngineError
    source = saved(made(), tmp_path)
    assert import_torch2trt([str(source), "--out", str(tmp_path / "x.engine")]) == kind.exit_code
    got = capsys.readouterr().err
    assert got.count("\n") == 1
    with pytest.raises(kind, match=text):
        import_engine(source, tmp_path / "x.engine")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_import_refuses_a_damaged_file(tmp_path):
    whole = saved(TRTModule(PLAN).state_dict(), tmp_path).read_bytes()
    cut = tmp_path / "cut.pth"
    for end in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:end])
        with pytest.raises(BundleError, match=r"cut\.pth"):
            read_trt_module(cut)
    with pytest.raises(BundleError, match="found no such file"):
        read_trt_module(tmp_path / "nothing.pth")


SPOILT = {
    "another engine": (lambda e, s: e.write_bytes(b"other"), [], 5, "is not the engine of"),
    "a damaged record": (lambda e, s: s.write_text("{"), [], 5, "wanted the record of an engine"),
    "an empty engine": (lambda e, s: e.write_bytes(b""), [], 5, "got an empty file"),
    "no engine": (lambda e, s: e.unlink(), [], 5, "cannot be read"),
    "names that it does not have": (lambda e, s: None, ["--inputs", "image"], 2, "wanted input_0, input_1 of"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_export_refuses(case, tmp_path, capsys):
    spoil, flags, code, text = SPOILT[case]
    source, engine = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "x.engine"
    import_engine(source, engine, untried=True)
    spoil(engine, record_path(engine))
    assert export_torch2trt([str(engine), "--out", str(tmp_path / "out.pth"), *flags]) == code
    got = capsys.readouterr().err
    assert text in got
    assert got.count("\n") == 1
    assert not (tmp_path / "out.pth").exists()


def test_import_and_export_refuse_a_path_that_cannot_be_written(tmp_path, capsys):
    source, taken = saved(TRTModule(PLAN).state_dict(), tmp_path), tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("so that it is not replaced")
    assert import_torch2trt([str(source), "--out", str(taken), "--untried"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "x.engine").write_bytes(PLAN)
    flags = ["--inputs", "a", "--outputs", "b"]
    assert export_torch2trt([str(tmp_path / "x.engine"), "--out", str(taken / "file" / "x.pth"), *flags]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth", "taken", "x.engine"]
