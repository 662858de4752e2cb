"""The record beside the engines, engines.json."""

import json
from pathlib import Path

import pytest

from tests.engines.damage import directory, pipe, write
from tests.helpers.engine_records import ORIN, PLAN, RTX, record, refusal


def edited(**changes):
    def edit(path):
        reason = json.loads(path.read_text())
        record = reason["engines"]["detect"]
        for key, value in changes.items():
            del record[key]
            if value is not None:
                record[key] = value
        path.write_text(json.dumps(reason))

    return edit


SIDECARS = [
    (Path.unlink, "engines.json is missing beside it"),
    (write(b""), "engines.json beside it is damaged: not JSON: Expecting value (line 1, column 1)"),
    (write(b'{"format": 2, "engin'), "engines.json beside it is damaged: not JSON: Unterminated string"),
    (write(b"\xff\xfe\x00"), "engines.json beside it is damaged: wanted UTF-8 text, got UTF-16"),
    (write(b"[" * 100_000), "engines.json beside it is damaged: not read: its brackets are nested too deep"),
    (write(b"9" * 5000), "engines.json beside it is damaged: line 1: a number of 5000 digits is too long"),
    (pipe, "engines.json beside it cannot be read: it is a FIFO, wanted a file"),
    (write(b'"' + b"\xff" * 9 + b'"'), "engines.json beside it is damaged: "),
    (write(b"[]"), "engines.json beside it is damaged: Expected `object`, got `array`"),
    (write(b"{}"), "engines.json beside it is damaged: Object missing required field `format`"),
    (write(b'{"format": 0, "engines": {}}'), "engines.json beside it is damaged: format: wanted 2, got 0"),
    (write(b'{"format": true, "engines": {}}'), "engines.json beside it is damaged: format: Expected `int`, got `bool"),
    (
        write(b'{"format": 3, "records": []}'),
        "engines.json beside it is of format 3, this nanoseg reads 2: a newer one wrote it",
    ),
    (write(b'{"format": 2, "engines": {}}'), "engines.json beside it has no record of it, so its build was cut short"),
    (
        edited(sha256="00"),
        "engines.json beside it is damaged: engines[...].sha256: Expected `str` matching regex ",
    ),
    (edited(bytes=None), "engines.json beside it is damaged: engines[...]: Object missing required field `bytes`"),
    (edited(kind="torch"), "engines.json beside it is damaged: engines[...].kind: Invalid enum value 'torch'"),
    (edited(file="../../secret"), "engines.json beside it is damaged: engines[...].file: Expected `str` matching"),
    (edited(graph="embed"), "engines.json beside it is damaged: engines.detect.graph: wanted detect, got embed"),
    (directory, "engines.json beside it cannot be read: it is a folder"),
]


@pytest.mark.parametrize(("damage", "expected"), SIDECARS)
def test_records_damaged(damage, expected, store, bundle, built):
    damage(built.parent / "engines.json")
    path, reason = refusal(store, bundle, ORIN)
    assert path == built
    assert reason.startswith(expected)
    (state,) = store.list_states(bundle, ORIN)
    assert (state.graph, state.path, state.record, state.invalid_reason) == ("detect", built, None, reason)


@pytest.mark.parametrize("damage", [row[0] for row in SIDECARS if row[0] is not directory])
def test_records_damaged_are_replaced_by_put(damage, store, bundle, built):
    damage(built.parent / "engines.json")
    store.put(bundle, ORIN, "detect", b"anew", record(plan=b"anew"))
    assert store.check(bundle, "detect", ORIN).read_bytes() == b"anew"


def test_records_of_format_1_are_read(store, bundle):
    """They spelled `kind` as the modules are called."""
    path = store.put(bundle, RTX, "detect", PLAN, record(device=RTX))
    records = path.with_name("engines.json")
    text = records.read_text().replace('"format": 2', '"format": 1').replace('"tensorrt-rtx"', '"tensorrt_rtx"')
    assert '"tensorrt_rtx"' in text
    records.write_text(text)
    assert store.check(bundle, "detect", RTX) == path
    store.put(bundle, RTX, "embed", PLAN, record("embed", device=RTX))
    assert "tensorrt_rtx" not in records.read_text()
    assert store.check(bundle, "detect", RTX) == path
