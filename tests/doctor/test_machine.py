"""Files and commands that fail, and the doctor's subprocesses for real."""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nanoseg.doctor import probe, self_test
from nanoseg.doctor.machine import Machine, installed_version, run_command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
LONG_S = 30.0


def python(code, timeout_s=LONG_S):
    return run_command([sys.executable, "-c", code], timeout_s)


@pytest.mark.parametrize(
    ("code", "stdout", "error"),
    [
        ("print('yes')", "yes\n", ""),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\x00')", "\ufffd\0", ""),
        ("print('half'); raise SystemExit(3)", "half\n", "{}: ended with 3"),
        ("import sys; print('no GPU\\n', file=sys.stderr); sys.exit(9)", "", "{}: ended with 9: no GPU"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "", "{}: ended by SIGILL"),
        ("import sys; sys.exit(len(sys.stdin.read()))", "", ""),  # stdin is empty
    ],
)
def test_run_command(code, stdout, error):
    assert python(code) == (stdout, error.format(Path(sys.executable).name), False)


@pytest.mark.parametrize("command", [["/nowhere/at-all"], ["/"], ["a\0b"]])
def test_run_command_that_cannot_start(command):
    result = run_command(command, LONG_S)
    assert result.stdout == ""
    assert result.error


def test_run_command_kills_a_hanging_command_and_its_children(tmp_path):
    pid = tmp_path / "pid"
    # The grandchild holds stdout, too: waiting for its end would never return.
    code = (
        "import subprocess, sys, time; sleep = 'import time; time.sleep(600)';"
        "child = subprocess.Popen([sys.executable, '-c', sleep]);"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    while not pid.exists() or not pid.read_text():
        result = python(code, 1.0)
        assert (result.stdout, result.timed_out) == ("", True)
        assert "no answer in 1 s" in result.error
    state = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(100):  # on a busy machine a killed process lives on for a moment
        with suppress(FileNotFoundError, ProcessLookupError):
            if state.read_text().rpartition(")")[2].split()[0] not in "ZX":
                time.sleep(0.1)
                continue
        return
    pytest.fail("the child is still running")


def test_machine_python_imports_what_this_process_does(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("import json; print(json.dumps({'found': __file__}))")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert Machine().python("-m", "only_here") == {"found": str(tmp_path / "only_here.py")}
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert Machine().python("-m", "only_here")["found"]


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print('{\"a\": 1}\\nnoise')", {"a": 1}),
        ("print('[1]\\n\"text\"\\n17')", {"error": "no output"}),
        ("import sys; sys.exit('broken')", {"error": f"{Path(sys.executable).name}: ended with 1: broken"}),
        ("", {"error": "no output"}),
    ],
)
def test_machine_python_returns_the_last_object(code, output):
    assert Machine().python("-c", code) == output


def test_machine_reads_no_special_files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"caf\xe9\0")
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    machine = Machine(tmp_path)
    assert machine.text("/file") == "caf\ufffd\0"
    assert [machine.text(each) for each in ("/folder", "/pipe", "/loop", "/nothing", "/a\0b")] == [""] * 5
    assert [machine.names(each) for each in ("/file", "/loop", "/nothing")] == [[]] * 3
    assert machine.exists("/loop")
    assert not machine.exists("/nothing")
    assert Machine(Path("/")).text("/dev/zero") == ""


def test_installed_version():
    assert installed_version("numpy")
    assert installed_version("no-such-library-of-any-name") is None
    assert installed_version("") is None


def test_probe_of_the_installed_opencv():
    cv2 = pytest.importorskip("cv2")
    output = Machine().python("-m", "nanoseg.doctor.probe", "cv2")
    assert (output["version"], output["build"]) == (cv2.__version__, cv2.getBuildInformation())


def test_self_test_runs_the_embedded_bundle():
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    output = Machine().python("-m", "nanoseg.doctor.self_test")
    keys = {"backend", "device", "load_ms", "first_ms", "frame_ms", "parts", "parts_found", "mapped", "not_captured"}
    assert set(output) == keys
    assert output["parts"] >= output["parts_found"] > 0
    assert min(output[name] for name in ("load_ms", "first_ms", "frame_ms")) > 0


@pytest.mark.parametrize(
    ("broken", "output"),
    [
        (None, '{"missing": true}'),
        ("import missing_dependency", '{"error": "No module named \'missing_dependency\'"}'),
        ("raise AttributeError('_ARRAY_API not\\nfound')", '{"error": "_ARRAY_API not found"}'),
    ],
)
def test_probe_of_a_broken_library(tmp_path, monkeypatch, capsys, broken, output):
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    if broken:
        (tmp_path / "cv2.py").write_text(broken)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert probe.main(["cv2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == output


def test_self_test_reports_a_bundle_that_fails(monkeypatch, capsys):
    def broken():
        raise RuntimeError("no\nway")

    monkeypatch.setattr(self_test, "run_bundle", broken)
    assert self_test.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == '{"error": "no way"}'


@pytest.mark.parametrize(
    ("name", "mapped", "captured"),
    [("tensorrt 10.3 on an Orin", True, True), ("tensorrt 11.4", False, True), ("tensorrt with pycuda", False, False)],
)
def test_self_test_reports_how_engines_run(name, mapped, captured, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    backends = pytest.importorskip("tests.backends.contract.backends")
    monkeypatch.setenv("NANOSEG_ENGINES", str(tmp_path))
    monkeypatch.setattr(self_test, "FRAMES", 1)
    monkeypatch.setattr(self_test, "WAIT_FRAMES", 1)
    with backends.backend(name, "parts", tmp_path, monkeypatch):
        output = json.loads(json.dumps(self_test.run_bundle()))
    assert (output["backend"], output["mapped"], not output["not_captured"]) == ("tensorrt", mapped, captured)
    assert output["parts_found"] > 0
    assert [(way, list(each)) for way, each in output["waits"].items()] == [
        (way, ["frame_ms", "cpu_ms"]) for way in ("spin", "block")
    ]
