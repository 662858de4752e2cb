"""The command line: one line for each mistake, its exit code, the version and the help."""

import re

import pytest

import nanoseg
from tests.commands.test_run import PARTS, stop_at


@pytest.mark.parametrize("verb", ["run", "segment", "demo"])
def test_cli_refuses_an_unknown_backend(call, photos, tmp_path, verb):
    place = ("--out", tmp_path / "out")
    point = ("--point", "3,4") if verb == "segment" else ()
    code, out, err = call(verb, photos / "a.png", *place, *point, "--backend", "tpu")
    assert (code, out) == (2, "")
    assert err == (
        "nanoseg: error: backend: wanted one of auto, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, tensorrt, "
        "got tpu\n"
    )


@pytest.mark.parametrize("verb", [["build"], ["run", "x.jpg"]])
def test_cli_prints_an_interruption_once(verb, call, monkeypatch):
    monkeypatch.setattr("nanoseg.commands.build.command.build", lambda _: 130)
    monkeypatch.setattr("nanoseg.commands.run.run", lambda _: 130)
    assert call(*verb) == (130, "", "")


def test_cli_shows_a_traceback_only_with_debug(oracle, call):
    oracle.find = stop_at(0, ZeroDivisionError("a bug\nof ours"))
    code, _, err = call("run", PARTS)
    assert code == 1
    assert err == (
        "nanoseg: error: ZeroDivisionError: a bug of ours; this is a fault of nanoseg: "
        "run again with --debug for the traceback, and report it\n"
    )
    for where in (["--debug", "run", PARTS], ["run", PARTS, "--debug"]):
        code, _, err = call(*where)
        assert code == 1
        assert "Traceback" in err
        assert err.endswith("nanoseg: error: ZeroDivisionError: a bug of ours; this is a fault of nanoseg: report it\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "Missing argument"),
        (["run", "x.png", "--limit", "0"], 2, "--limit"),
        (["run", "x.png", "--confidence", "1.5"], 2, "--confidence"),
        (["run", "x.png", "--frobnicate"], 2, "--frobnicate"),
        (["frobnicate"], 2, "frobnicate"),
        (["run", "parts://?size=big"], 2, "size wants WIDTHxHEIGHT"),
        (["run", PARTS, "--json", "--results", "-"], 2, "both want stdout"),
        (["run", "nothing.png"], 3, "nothing.png: no such file or folder"),
        (
            ["run", "rtsp://camera.example/1", "nothing.png"],
            2,
            "nothing.png: is no live source, others are; add",
        ),
        (["info", "nothing"], 4, "nothing: no such bundle"),
    ],
)
def test_cli_mistakes_are_one_line_with_their_code(oracle, call, arguments, code, message):
    got, out, err = call(*arguments)
    assert (got, out) == (code, "")
    assert re.fullmatch(r"nanoseg: error: [^\n]+\n", err)
    assert message in err


def test_cli_version_and_help(call):
    assert call("--version") == (0, f"nanoseg {nanoseg.__version__}\n", "")
    for verb in ((), ("demo",), ("run",), ("segment",), ("info",), ("doctor",)):
        code, out, err = call(*verb, "--help")
        assert (code, err) == (0, "")
        assert "Examples:" in out
        assert f"  nanoseg {verb[0] if verb else 'demo'}" in out
    code, out, _ = call()
    assert code == 0
    assert "Usage: nanoseg" in out
