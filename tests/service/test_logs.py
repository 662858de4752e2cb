"""The log: one line an event, the same trouble once, journald's fields, no secrets."""

import json
import logging
import os
import socket
import sys
import warnings

import pytest

from nanoseg.service import logs
from nanoseg.service.library_messages import library_messages
from nanoseg.service.logs import AGAIN_S, ERROR, MOST, Log


@pytest.fixture
def lines(capfd):
    return lambda: capfd.readouterr().err.splitlines()


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_log_tells_the_same_trouble_once_and_then_its_count(lines):
    clock = Clock()
    log = Log(clock=clock)
    for _ in range(50):
        log.tell("camera", "belt: lost")
    log.tell("camera", "yard: lost")
    clock.now_s = AGAIN_S
    log.tell("camera", "belt: lost")
    assert lines() == [
        "nanoseg: belt: lost",
        "nanoseg: yard: lost",
        "nanoseg: belt: lost (49 more since it was told)",
    ]
    assert log.trouble == {"camera": 52}


def test_log_of_a_flood_of_lines_that_differ_silences_no_other_kind(lines):
    clock = Clock()
    log = Log(clock=clock)
    for index in range(5000):
        log.tell("http", f"GET /{index}: 404")
    assert lines() == [
        *(f"nanoseg: GET /{index}: 404" for index in range(MOST)),
        "nanoseg: http: more trouble than is told here; nanoseg_trouble_total counts it",
    ]
    log.tell("camera", "belt: lost")
    clock.now_s = AGAIN_S
    log.tell("http", "GET /: 404")
    assert lines() == ["nanoseg: belt: lost", "nanoseg: GET /: 404"]
    assert log.trouble == {"http": 5001, "camera": 1}


def test_log_counts_lines_that_have_what_matters_in_common(lines):
    log = Log(clock=Clock())
    for index in range(50):
        log.tell("http", f"GET /{index}: 404", same="404")
        log.tell("http", f"GET /{index}: 401", same="401")
    assert lines() == ["nanoseg: GET /0: 404", "nanoseg: GET /0: 401"]


@pytest.mark.parametrize("as_json", [False, True])
def test_log_has_neither_control_characters_nor_passwords(lines, as_json):
    Log(as_json=as_json).event("rtsp://me:secret@cam/1: bad\n\x1b[31m", ERROR, source="a\nb")
    [line] = lines()
    assert "secret" not in line
    assert "\x1b" not in line
    if as_json:
        values = json.loads(line)
        assert (values["level"], values["source"]) == ("error", "a\nb")
        assert values["message"] == "rtsp://***@cam/1: bad\\n\\x1b[31m"


def test_log_of_journald_has_fields(tmp_path, monkeypatch, capfd):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        status = os.fstat(sys.stderr.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(logs, "JOURNAL", str(tmp_path / "journal"))
        log = Log()
        log.tell("camera", "belt: lost", source="belt")
        fields = dict(line.split("=", 1) for line in journal.recv(9999).decode().splitlines())
        assert fields == {
            "MESSAGE": "belt: lost",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "nanoseg",
            "NANOSEG_KIND": "camera",
            "NANOSEG_SOURCE": "belt",
        }
    assert capfd.readouterr().err == ""
    log.event("journald is away")
    log.close()
    assert capfd.readouterr().err == "nanoseg: journald is away\n"


def test_log_takes_what_libraries_log_and_warn_of(lines):
    log = Log(as_json=True)
    before = list(logging.getLogger().handlers)
    with library_messages(log):
        logging.getLogger("nanoseg").warning("%s: runs on %s, http://cam/v?pw=geheim", "coco", "onnxruntime")
        logging.getLogger("nanoseg").info("not this")
        try:
            raise OSError("no space")
        except OSError:
            logging.getLogger("asyncio").exception("Task failed")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old\nnews", DeprecationWarning, stacklevel=1)
    found = [json.loads(line) for line in lines()]
    assert [(each["level"], each["logger"], each["message"]) for each in found[:2]] == [
        ("warning", "nanoseg", "coco: runs on onnxruntime, http://cam/v?pw=***"),
        ("error", "asyncio", "Task failed: OSError: no space"),
    ]
    assert found[2]["message"].endswith("DeprecationWarning: old")
    assert log.trouble == {"library": 3}
    assert logging.getLogger().handlers == before
