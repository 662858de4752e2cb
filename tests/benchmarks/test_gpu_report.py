"""The report of benchmarks/gpu.py, and the tests that it runs."""

import json

import pytest

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("torch", reason="needs nanoseg[export]")
pytest.importorskip("PIL", reason="needs nanoseg[eval]")
import gpu_report
import gpu_tests


def test_run_tests_interrupts_what_takes_too_long(tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    source = "import time, pytest\npytestmark = pytest.mark.gpu\ndef test_a(): pass\ndef test_b(): time.sleep(60)\n"
    (tmp_path / "tests" / "test_slow.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    monkeypatch.setattr(gpu_tests, "ROOT", tmp_path)
    found = gpu_tests.run_tests(5.0)
    assert (found["exit_code"], found["interrupted"], found["passed"], found["failed"]) == (2, True, 1, {})


def test_report_is_written_before_each_part(tmp_path):
    path = tmp_path / "report.json"
    report = gpu_report.Report(path)
    report.data["engine"] = "torch"

    def killed():
        assert json.loads(path.read_text())["engine"] == "torch"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report.part("stages", killed)


JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="x">why
x</failure></testcase>
<testcase classname="b" name="three"><skipped message="needs pycuda"/></testcase>
<testcase classname="" name="c"><skipped message="collection skipped">('/c', 0, 'Skipped: lost')</skipped></testcase>
<testcase classname="b" name="four"><error message="y"/></testcase>
</testsuite></testsuites>"""


def test_read_junit(tmp_path):
    path = tmp_path / "told.xml"
    nothing = {"passed": 0, "failed": {}, "skipped": {}}
    assert gpu_tests.read_junit(path) == nothing
    path.write_text(JUNIT)
    failed = {"a::two": "why\nx", "b::four": "y"}
    got = {"passed": 1, "failed": failed, "skipped": {"b::three": "needs pycuda", "::c": "lost"}}
    assert gpu_tests.read_junit(path) == got
