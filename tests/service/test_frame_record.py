"""Records that wait for outputs: without the frame's pixels, few bytes of masks, made once and not in the loop."""

import asyncio
import gc
import json
import threading
import weakref

import pytest

from nanoseg.service import frame_record
from nanoseg.service.config import RecordsConfig
from nanoseg.service.frame_record import WaitingRecords
from nanoseg.service.http.streams import EventQueue, Events
from nanoseg.service.mqtt.outbox import Outbox
from nanoseg.service.mqtt.topics import Layout, Topics
from nanoseg.service.records import RecordsWriter
from nanoseg.sinks.records import read_record
from tests.service.results import a_result


@pytest.fixture
def blocked(tmp_path, monkeypatch):
    """A writer of records whose disk is stuck."""
    go_on = threading.Event()
    monkeypatch.setattr(RecordsWriter, "_write", lambda *_: go_on.wait(60))
    writer = RecordsWriter(RecordsConfig(str(tmp_path / "records.jsonl")), print)
    yield writer
    go_on.set()
    writer.close()


def test_frame_record_pins_no_pixels(blocked):
    """64 frames of 1080p are 400 MB, for each reader that is slow."""
    plain, masked, outbox = EventQueue(None, masks=False), EventQueue(None, masks=True), Outbox(_topics(), {})
    frames, logits = [], []
    for index in range(5):
        result = a_result(index)
        frames.append(weakref.ref(result.frame.image))
        logits.append(weakref.ref(result.objects.masks.logits))
        plain.put(result)
        if index < 2:  # the others' masks are wanted by nobody
            masked.put(result)
            blocked.put(result.record())
            outbox.put(result.record())
        del result
    gc.collect()
    assert [each() is None for each in frames] == [True] * 5
    assert [each() is None for each in logits] == [False, False, True, True, True]


def test_frame_record_is_light_once_it_is_made():
    result = a_result(boxes=((10, 10, 30, 30), (1, 1, 9, 9)))
    record, logits = result.record(), weakref.ref(result.objects.masks.logits)
    assert record.nbytes > logits().nbytes
    del result
    assert record.made is None
    line = record.json()
    assert line == record.made == record.json()
    assert len(read_record(line.replace(b'"source":"belt",', b"")).objects) == 2
    assert record.nbytes == len(line)
    assert logits() is None


@pytest.mark.parametrize(("most", "limit", "kept"), [(3, 100, 3), (9, 2.5, 2), (9, 0.5, 1)])
def test_waiting_records_are_bounded_by_number_and_bytes(monkeypatch, most, limit, kept):
    records = [a_result(index).record() for index in range(6)]
    monkeypatch.setattr(frame_record, "MAX_BYTES", int(limit * records[0].nbytes))
    waiting = WaitingRecords(most)
    assert sum(waiting.append(each) for each in records) == 6 - kept, "the oldest are dropped"
    assert not waiting.has_room(records[0])
    assert [waiting.popleft().index for _ in range(len(waiting))] == list(range(6 - kept, 6))


def test_frame_record_is_made_once_for_all_readers(monkeypatch):
    made, real = [], frame_record.record

    def counted(frame, *arguments, **options):
        made.append(frame.index)
        return real(frame, *arguments, **options)

    monkeypatch.setattr(frame_record, "record", counted)

    async def read() -> None:
        events, queues = Events(), [EventQueue(None, masks=True) for _ in range(8)]
        for index in range(3):
            result = a_result(index)
            for queue in queues:
                queue.put(result)
        for index in range(3):
            records = [await queue.next(0) for queue in queues]
            lines = await asyncio.gather(*map(events.json, records))
            assert {json.loads(line)["frame"] for line in lines} == {index}
        assert not events._making

    asyncio.run(read())
    assert made == [0, 1, 2]


def test_frame_record_for_mqtt_is_not_made_where_it_is_put():
    outbox = Outbox(_topics(), {})
    record = a_result(7).record()
    outbox.put(record)
    while (message := outbox.take()) is not None and message.kind != "record":
        pass
    assert record.made is None
    assert json.loads(message.payload)["frame"] == 7


def _topics():
    return Topics("t", Layout(("belt",)))
