"""`nanoseg doctor --self-test`: its results in the report."""

import json

import pytest

from nanoseg.doctor import state
from nanoseg.doctor.machine import CommandResult
from nanoseg.doctor.report import doctor
from tests.doctor.probe_output import BINDINGS, GOOD_ORIN, GOOD_PC, INT8, NOT_BUILT, OPENED, RUNTIME, SELF_TEST
from tests.fakes.boards import BUILT, HEALTHY, board


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"mapped": True, "not_captured": {}}, ["frames are read in pinned memory"]),
        (
            {"mapped": False, "not_captured": {"embed": "it waits", "segment 1": "no room", "segment 2": "no room"}},
            [
                "frames are copied to the GPU",
                "not captured as a CUDA graph: embed: it waits",
                "not captured as a CUDA graph: segment 1, segment 2: no room",
            ],
        ),
        ({"mapped": None, "not_captured": None}, []),
        (
            {"waits": {"spin": {"frame_ms": 20.0, "cpu_ms": 19.5}, "block": {"frame_ms": 20.3, "cpu_ms": 3.0}}},
            [
                "a frame by the way of waiting: spin 20.0 ms, 19.5 ms of CPU; block 20.3 ms, 3.0 ms of CPU; "
                "best NANOSEG_CUDA_WAIT=block"
            ],
        ),
        (
            {"waits": {"spin": {"frame_ms": 2.0, "cpu_ms": 2.0}, "block": {"frame_ms": 2.1, "cpu_ms": 0.3}}},
            [
                "a frame by the way of waiting: spin 2.0 ms, 2.0 ms of CPU; block 2.1 ms, 0.3 ms of CPU; "
                "best NANOSEG_CUDA_WAIT=spin"
            ],
        ),
    ],
)
def test_self_test_reports_memory_and_cuda_graphs(capsys, result, lines):
    machine = board(
        "orin-nano-super", {**GOOD_ORIN, SELF_TEST: {**HEALTHY[SELF_TEST], **result}, INT8: {"builds": True}}, BINDINGS
    )
    doctor(True, True, machine)
    bundle = json.loads(capsys.readouterr().out)["self_test"]["bundle"]
    assert {name: bundle[name] for name in result} == result
    doctor(False, True, machine)
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    printed = [row.removeprefix("self-test ") for row in rows if row.startswith("self-test ")]
    assert printed[1:-1] == lines


@pytest.mark.parametrize(
    ("children", "code", "key", "text"),
    [
        ({SELF_TEST: {"error": "detect.onnx: it broke"}}, 5, "self_test.bundle", "detect.onnx: it broke"),
        ({SELF_TEST: CommandResult("", "python3: ended by SIGSEGV")}, 5, "self_test.bundle", "SIGSEGV"),
        ({SELF_TEST: {**HEALTHY[SELF_TEST], "parts_found": 0}}, 5, "self_test.wrong", "none of 5 parts"),
        ({INT8: {"builds": False, "why": "wants float weights"}}, 0, "self_test.tensorrt", "wants float weights"),
        ({INT8: {"error": "RuntimeError: no GPU"}}, 0, "self_test.tensorrt", "could not be tested: RuntimeError"),
    ],
)
def test_self_test_that_fails_becomes_a_finding(capsys, children, code, key, text):
    machine = board("orin-nano-super", {**GOOD_ORIN, INT8: {"builds": True}, **children})
    assert doctor(True, True, machine) == code
    document = json.loads(capsys.readouterr().out)
    assert text in next(finding["problem"] for finding in document["findings"] if finding["key"] == key)
    assert document["can_run"] == (code == 0)


ON_ENGINES = {**HEALTHY[SELF_TEST], "backend": "tensorrt"}


@pytest.mark.parametrize(
    ("children", "bundle", "wanted"),
    [
        ({SELF_TEST: ON_ENGINES}, "parts", None),
        ({}, "parts", ("the embedded bundle ran on onnxruntime, though tensorrt is available", "--backend tensorrt ")),
        ({}, "nuts", None),  # which was not tested
        ({SELF_TEST: {"error": "it broke"}}, "parts", None),
        (
            {**NOT_BUILT, RUNTIME: GOOD_PC[RUNTIME]},
            "parts",
            (
                "the embedded bundle ran on onnxruntime, though onnxruntime-cuda is available",
                "--backend onnxruntime-cuda ",
            ),
        ),
    ],
)
def test_self_test_warns_where_it_ran_on_a_slower_backend(capsys, monkeypatch, children, bundle, wanted):
    monkeypatch.setattr(state, "open_bundle", lambda _: OPENED("parts"))
    output = {**GOOD_ORIN, f"nanoseg.doctor.probe engines {bundle}": BUILT, INT8: {"builds": True}, **children}
    doctor(True, True, board("orin-nano-super", output, BINDINGS), bundle)
    found = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["key"] == "self_test.backend"]
    assert len(found) == (wanted is not None)
    for each in found:
        assert (each["level"], each["problem"]) == ("warning", wanted[0])
        assert f"nanoseg demo --limit 1 {wanted[1]}" in each["fix"]


@pytest.mark.parametrize(
    ("bundle", "result", "code", "level"),
    [
        ("parts", {"error": "onnxruntime is not installed"}, 5, "error"),
        ("nuts", {"error": "onnxruntime is not installed"}, 0, "warning"),
        ("nuts", {**HEALTHY[SELF_TEST], "parts_found": 0}, 5, None),  # wrong results matter for both
    ],
)
def test_self_test_of_the_embedded_bundle_is_inconclusive_for_another(capsys, monkeypatch, bundle, result, code, level):
    """On a Jetson with JetPack's TensorRT alone, and engines of the other bundle."""
    monkeypatch.setattr(state, "open_bundle", lambda _: OPENED("parts"))
    output = {**GOOD_ORIN, f"nanoseg.doctor.probe engines {bundle}": BUILT, INT8: {"builds": True}, SELF_TEST: result}
    machine = board("orin-nano-super", {**output, RUNTIME: {"missing": True}}, BINDINGS)
    assert doctor(True, True, machine, bundle) == code
    document = json.loads(capsys.readouterr().out)
    assert document["runs_on"] == ["tensorrt"]
    assert document["can_run"] == (code == 0)
    found = [each for each in document["findings"] if each["key"] == "self_test.bundle"]
    assert [each["level"] for each in found] == [level] * (level is not None)
    for each in found:
        assert each["problem"] == "the embedded bundle does not run here: onnxruntime is not installed"
    if code == 0:
        assert not any(each["effect"] == "no bundle runs" for each in document["findings"])
    doctor(False, True, machine, bundle)
    assert ("the embedded bundle does not run\n" in capsys.readouterr().out) == (level is not None)
