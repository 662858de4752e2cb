"""nanoseg/service/mqtt/retained.py and outbox.py against models."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanoseg.service.mqtt import outbox as outbox_module
from nanoseg.service.mqtt.outbox import MAX_EVENTS, MAX_RECORDS, Outbox
from nanoseg.service.mqtt.retained import Retained
from nanoseg.service.mqtt.topics import Topics
from tests.service.mqtt.records import LAYOUT, Record, record

TOPIC, PAYLOAD = st.sampled_from("abcd"), st.sampled_from([b"1", b"2"])
STEPS = st.one_of(
    st.tuples(st.just("want"), TOPIC, PAYLOAD),
    st.tuples(st.just("remove"), TOPIC),
    st.tuples(st.just("publish_again"), st.lists(TOPIC, max_size=2)),
    st.tuples(st.just("take")),
    st.tuples(st.just("broker forgets")),
    st.tuples(st.just("lost")),
)


def publish(retained, broker):
    """Publish one message; False: there was none."""
    if (taken := retained.take()) is None:
        return False
    topic, payload = taken
    if payload:
        broker[topic] = payload
    else:
        broker.pop(topic, None)
        retained.removed(topic)
    return True


@settings(deadline=None)
@given(st.lists(STEPS))
@example([("want", "a", b"1"), ("take",), ("remove", "a"), ("lost",)])
@example([("want", "a", b"1"), ("take",), ("remove", "a"), ("lost",), ("want", "a", b"1"), ("take",), ("lost",)])
def test_retained_messages_end_as_they_are_wanted(steps):
    retained, broker, wanted = Retained(), {}, {}
    for step, *arguments in steps:
        if step == "take":
            publish(retained, broker)
        elif step == "lost":  # what was taken, with the connection
            retained.take()
            retained.publish_again()
        elif step == "broker forgets":  # it was started again: a new connection
            broker.clear()
            retained.publish_again()
        else:
            getattr(retained, step)(*arguments)
        if step == "want":
            wanted[arguments[0]] = arguments[1]
        elif step == "remove":
            wanted.pop(arguments[0], None)
    while publish(retained, broker):
        pass
    assert broker == wanted
    assert all((topic in retained) == (topic in wanted) for topic in "abcd")


def test_retained_message_is_published_when_it_changes():
    retained = Retained()
    for payload in (b"1", b"2", b"1"):
        retained.want("a", payload)
    assert [retained.take(), retained.take()] == [("a", b"1"), None]
    retained.want("a", b"1")
    assert retained.take() is None


OUTBOX_STEPS = st.sampled_from(["put", "event", "other", "send", "fail", "send event", "fail event", "toggle"])


@settings(deadline=None)
@given(st.lists(OUTBOX_STEPS, max_size=40), st.booleans())
def test_outbox_accounts_for_each_record_and_event(steps, close):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "MAX_RECORDS", 3)
        patch.setattr(outbox_module, "MAX_EVENTS", 2)
        check_outbox(steps, close)


def check_outbox(steps, close):
    outbox, put, connected = Outbox(Topics("t", LAYOUT), {}), Counter(), False
    sent = []
    for step in steps:
        if step in ("put", "event"):
            outbox.put(record(put["record"], events=["enter"] * (step == "event")))
            put["record"] += 1
            put["event"] += step == "event"
        elif step == "other":
            outbox.put(Record({"source": "nobody"}))
            put["record"] += 1
        elif step == "toggle":
            connected = not connected
            outbox.connected(connected)
        else:
            message = outbox.take_event() if "event" in step else outbox.take()
            if message is not None and "send" in step:
                outbox.sent(message)
                sent.append(message)
            elif message is not None:
                outbox.failed(message)
        assert outbox.counts.queued <= 3
    frames = [json.loads(message.payload)["frame"] for message in sent if message.kind == "record"]
    assert frames == sorted(set(frames)), "in order, none twice"
    waiting = 0
    if close:
        outbox.close()
        outbox.put(record(0))
        put["record"] += 1
    else:
        while outbox.take_event() is not None:
            waiting += 1
    counts = outbox.counts
    for kind, queued in (("record", counts.queued), ("event", waiting)):
        dropped = sum(count for (of, _), count in counts.dropped.items() if of == kind)
        assert counts.published.get(kind, 0) + dropped + queued == put[kind]


def test_outbox_drops_the_oldest():
    outbox = Outbox(Topics("t", LAYOUT), {})
    for frame in range(MAX_EVENTS + 5):
        outbox.put(record(frame, events=["enter"]))
        outbox.connected(frame > MAX_RECORDS)
    records, events = [], []
    while (message := outbox.take()) is not None:
        records += [json.loads(message.payload)["frame"]] if message.kind == "record" else []
    while (message := outbox.take_event()) is not None:
        events.append(json.loads(message.payload)["frame"])
    assert records == list(range(MAX_EVENTS + 5 - MAX_RECORDS, MAX_EVENTS + 5))
    assert events == list(range(5, MAX_EVENTS + 5))
    assert outbox.counts.dropped == {
        ("record", "away"): 2,
        ("record", "slow"): MAX_EVENTS + 3 - MAX_RECORDS,
        ("event", "slow"): 5,
    }


REGIONS = st.dictionaries(
    st.sampled_from(["outfeed", "elsewhere"]),
    st.dictionaries(st.sampled_from(["bolt", "nut", "cup"]), st.integers(0, 2)),
)


@settings(deadline=None)
@given(st.lists(st.one_of(REGIONS, st.sampled_from(["lost", "described", "connected"])), min_size=1))
def test_outbox_counts_end_as_in_the_last_record(steps):
    outbox, broker, last = Outbox(Topics("t", LAYOUT), {}), {}, None
    for step in steps:
        if step == "lost":
            outbox.source_lost("belt")
        elif step == "described":
            outbox.describe(Topics("t", LAYOUT), {})
        elif step == "connected":
            outbox.connected(True)
        else:
            outbox.put(Record({"source": "belt", "regions": step}))
            last = step
        while (message := outbox.take()) is not None:
            if message.retain:
                broker[message.topic] = message.payload
    counts = {topic: payload for topic, payload in broker.items() if "outfeed" in topic}
    expected = {} if last is None else {name: last.get("outfeed", {}).get(name, 0) for name in ("bolt", "nut")}
    assert counts == {f"t/belt/outfeed/{name}": b"%d" % count for name, count in expected.items()}
    lost = not [step for step in steps if isinstance(step, dict)] or "lost" in steps[_last_record(steps) :]
    assert broker["t/belt/status"] == (b"offline" if lost else b"online")


def _last_record(steps):
    return max(index for index, step in enumerate(steps) if isinstance(step, dict))
