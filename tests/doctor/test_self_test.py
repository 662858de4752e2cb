"""`nanoseg doctor --self-test`: what it tries, and what is told of it."""

import json

import pytest

from nanoseg.doctor import facts
from nanoseg.doctor.machine import Answer
from nanoseg.doctor.report import doctor
from tests.doctor.printed import BINDINGS, GOOD_ORIN, GOOD_PC, INT8, NOT_BUILT, OPENED, RUNTIME, TRY
from tests.fakes.boards import BUILT, WELL, board


@pytest.mark.parametrize(
    ("tried", "lines"),
    [
        ({"mapped": True, "not_captured": {}}, ["frames are read in pinned memory, where they lie"]),
        (
            {"mapped": False, "not_captured": {"embed": "it waits", "segment 1": "no room", "segment 2": "no room"}},
            [
                "frames are copied to the GPU",
                "given to the GPU anew each time, not as a CUDA graph: embed: it waits",
                "given to the GPU anew each time, not as a CUDA graph: segment 1, segment 2: no room",
            ],
        ),
        ({"mapped": None, "not_captured": None}, []),
    ],
)
def test_how_frames_go_to_the_gpu(capsys, tried, lines):
    machine = board("orin-nano-super", {**GOOD_ORIN, TRY: {**WELL[TRY], **tried}, INT8: {"builds": True}}, BINDINGS)
    doctor(True, True, machine)
    bundle = json.loads(capsys.readouterr().out)["self_test"]["bundle"]
    assert {name: bundle[name] for name in tried} == tried
    doctor(False, True, machine)
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    told = [row.removeprefix("self-test ") for row in rows if row.startswith("self-test ")]
    assert told[1:-1] == lines


@pytest.mark.parametrize(
    ("children", "code", "key", "says"),
    [
        ({TRY: {"error": "detect.onnx: it broke"}}, 5, "self_test.bundle", "detect.onnx: it broke"),
        ({TRY: Answer("", "python3: ended by SIGSEGV")}, 5, "self_test.bundle", "SIGSEGV"),
        ({TRY: {**WELL[TRY], "parts_found": 0}}, 5, "self_test.wrong", "none of 5 parts"),
        ({INT8: {"builds": False, "why": "wants float weights"}}, 0, "self_test.tensorrt", "wants float weights"),
        ({INT8: {"error": "RuntimeError: no GPU"}}, 0, "self_test.tensorrt", "could not be tried: RuntimeError"),
    ],
)
def test_a_self_test_that_fails(capsys, children, code, key, says):
    machine = board("orin-nano-super", {**GOOD_ORIN, INT8: {"builds": True}, **children})
    assert doctor(True, True, machine) == code
    told = json.loads(capsys.readouterr().out)
    assert says in next(finding["what"] for finding in told["findings"] if finding["key"] == key)
    assert told["can_run"] == (code == 0)


ON_ENGINES = {**WELL[TRY], "backend": "tensorrt"}


@pytest.mark.parametrize(
    ("children", "bundle", "wanted"),
    [
        ({TRY: ON_ENGINES}, "parts", None),
        ({}, "parts", ("the embedded bundle ran on onnxruntime, though tensorrt is there", "--backend tensorrt ")),
        ({}, "nuts", None),  # which was not tried
        ({TRY: {"error": "it broke"}}, "parts", None),
        (
            {**NOT_BUILT, RUNTIME: GOOD_PC[RUNTIME]},
            "parts",
            ("the embedded bundle ran on onnxruntime, though onnxruntime-cuda is there", "--backend onnxruntime-cuda "),
        ),
    ],
)
def test_the_self_test_ran_on_what_is_best(capsys, monkeypatch, children, bundle, wanted):
    monkeypatch.setattr(facts, "open_bundle", lambda _: OPENED("parts"))
    said = {**GOOD_ORIN, f"nanoseg.doctor.probe engines {bundle}": BUILT, INT8: {"builds": True}, **children}
    doctor(True, True, board("orin-nano-super", said, BINDINGS), bundle)
    found = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["key"] == "self_test.backend"]
    assert len(found) == (wanted is not None)
    for each in found:
        assert (each["level"], each["what"]) == ("warning", wanted[0])
        assert f"nanoseg demo --frames 1 {wanted[1]}" in each["mend"]


@pytest.mark.parametrize(
    ("bundle", "tried", "code", "level"),
    [
        ("parts", {"error": "onnxruntime is not installed"}, 5, "error"),
        ("nuts", {"error": "onnxruntime is not installed"}, 0, "warning"),
        ("nuts", {**WELL[TRY], "parts_found": 0}, 5, None),  # what computes wrong is the same for both
    ],
)
def test_the_self_test_is_of_the_embedded_bundle(capsys, monkeypatch, bundle, tried, code, level):
    """As on a Jetson with JetPack's TensorRT alone, and engines of the other bundle."""
    monkeypatch.setattr(facts, "open_bundle", lambda _: OPENED("parts"))
    said = {**GOOD_ORIN, f"nanoseg.doctor.probe engines {bundle}": BUILT, INT8: {"builds": True}, TRY: tried}
    machine = board("orin-nano-super", {**said, RUNTIME: {"missing": True}}, BINDINGS)
    assert doctor(True, True, machine, bundle) == code
    told = json.loads(capsys.readouterr().out)
    assert told["runs_on"] == ["tensorrt"]
    assert told["can_run"] == (code == 0)
    found = [each for each in told["findings"] if each["key"] == "self_test.bundle"]
    assert [each["level"] for each in found] == [level] * (level is not None)
    for each in found:
        assert each["what"] == "the embedded bundle does not run here: onnxruntime is not installed"
    if code == 0:
        assert not any(each["costs"] == "no bundle runs" for each in told["findings"])
    doctor(False, True, machine, bundle)
    assert ("the embedded bundle does not run\n" in capsys.readouterr().out) == (level is not None)
