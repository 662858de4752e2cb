"""Server-sent events: what they hold, who gets which, and what is dropped."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from nanoseg.service.http import streams
from nanoseg.service.http.streams import EVENTS, EventQueue, Events, event_stream
from tests.service.http.serving import Serving, check_headers, until
from tests.service.results import a_result


def read_events(response):
    """Yield the events of a response, as the specification of server-sent events says to read them."""
    kind, data = "message", []
    for line in response.iter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                yield kind, json.loads("\n".join(data))
            kind, data = "message", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        else:
            assert line.startswith(":") or (name, value) == ("retry", "2000"), line


def records(events):
    """Yield the records of events."""
    return (data for kind, data in events if kind == "record")


def test_events_are_records_and_states():
    with Serving() as serving, serving.client() as client, client.stream("GET", "/events") as response:
        check_headers(response)
        assert response.headers["content-type"].startswith("text/event-stream")
        events = read_events(response)
        assert next(events) == ("state", serving.state)
        result = a_result(7, events=[{"event": "enter", "region": "a\nb", "class_name": "bolt", "count": 1}])
        serving.put(result)
        assert next(records(events)) == json.loads(result.record(masks=False).json())
        serving.state = {"version": "1\n\n2"}
        assert (
            next(data for kind, data in events if kind == "state" and data != {"version": "0", "sources": []})
            == serving.state
        )
        assert not serving.lines


@pytest.mark.parametrize(("query", "masks"), [("", False), ("?masks=0", False), ("?masks=1", True)])
def test_records_have_their_masks_where_they_are_wanted(query, masks):
    with Serving() as serving, serving.client() as client, client.stream("GET", f"/events{query}") as response:
        events = read_events(response)
        next(events)
        serving.put(a_result(boxes=((10, 10, 30, 30), (1, 1, 9, 9))))
        record = next(records(events))
        assert record == json.loads(a_result(boxes=((10, 10, 30, 30), (1, 1, 9, 9))).record(masks=masks).json())
        assert ["mask" in each for each in record["objects"]] == [masks, masks]


def test_events_of_one_camera_and_of_all():
    with Serving() as serving, serving.client() as client, client.stream("GET", "/events?source=belt") as one:
        belt = read_events(one)
        next(belt)
        with client.stream("GET", "/events") as every:
            all_ = read_events(every)
            next(all_)
            serving.put(a_result(1, source="packing table"))
            serving.put(a_result(2, source="belt"))
            assert next(records(belt))["frame"] == 2
            found = records(all_)
            assert [next(found)["frame"], next(found)["frame"]] == [1, 2]
        until(lambda: serving.application.readers["events"] == 1)


def test_queue_is_bounded_and_counts_what_it_drops():
    async def run() -> None:
        events = Events()
        events.bind(asyncio.get_running_loop())
        events.put(a_result())
        queue, other = EventQueue("belt", masks=False), EventQueue("dock", masks=False)
        for each in (queue, other):
            events.enter(each)
        for index in range(EVENTS + 5):
            events.put(a_result(index))
        await asyncio.sleep(0)
        assert (queue.dropped, other.dropped, events.dropped) == (5, 0, 5)
        indices = [(await queue.next(0)).index for _ in range(EVENTS)]
        assert indices == list(range(5, EVENTS + 5)), "the oldest are dropped"
        assert await queue.next(0) is None
        events.leave(queue)
        assert events.dropped == 5, "what readers that have left missed counts on"
        events.put(a_result())
        await asyncio.sleep(0)
        assert await queue.next(0) is None

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(5))
def test_reader_that_leaves_as_a_record_comes(turns):
    """`asyncio.wait_for` of Python before 3.12 takes no note of it then, and its place was never freed."""

    async def run() -> None:
        queue = EventQueue(None, masks=False)
        waiting = asyncio.ensure_future(queue.next(60))
        await asyncio.sleep(0.01)
        queue.put(a_result())
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() or was_done

    asyncio.run(run())


def test_reader_that_does_not_read_misses_events(monkeypatch):
    monkeypatch.setattr(streams, "EVENTS", 2)
    with Serving() as serving, serving.wire() as lazy, serving.client() as client:
        lazy.send(b"GET /events?masks=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: serving.application.readers["events"] == 1)
        crowd = tuple((x, y, x + 3, y + 3) for x in range(0, 60, 4) for y in range(0, 44, 4))
        result = a_result(boxes=crowd)
        result.record().json()
        end_s = time.monotonic() + 60
        while not serving.events.dropped and time.monotonic() < end_s:
            for _ in range(50):
                serving.put(result)
            assert client.get("/healthz").status_code == 200, "others are answered"
        assert serving.events.dropped
    assert serving.events.dropped


def test_nobody_is_woken_without_a_reader():
    events = Events()
    events.put(a_result())
    events.bind(None)
    events.put(a_result())


def test_states_come_in_silence():
    async def run() -> None:
        parts = event_stream(Events(), EventQueue(None, masks=False), lambda: b"{}", every_s=0.01)
        assert await anext(parts) == b"retry: 2000\n\n"
        assert [await anext(parts) for _ in range(3)] == [b"event: state\ndata: {}\n\n"] * 3
        await parts.aclose()

    asyncio.run(run())


def test_events_end_when_the_reader_leaves():
    with Serving(max_streams=1) as serving:
        for _ in range(3):
            with serving.client() as client, client.stream("GET", "/events") as response:
                events = read_events(response)
                next(events)
                assert serving.application.readers == {"stream": 0, "events": 1}
            until(lambda: serving.application.readers["events"] == 0)
        assert not serving.events._queues
