"""nanoseg/service/mqtt.py against a real broker: what arrives there, and what it holds."""

from __future__ import annotations

import json
import threading

import pytest

from nanoseg.service.mqtt.topics import Layout
from nanoseg.utils.names import encode_json
from tests.helpers.mosquitto import listening, retained, running
from tests.helpers.waiting import wait_for
from tests.service.mqtt.records import LAYOUT, Record, accounted, publisher, record

CAMERA = "homeassistant/camera/nanoseg_nanoseg/belt/config"
SENSOR = "homeassistant/sensor/nanoseg_nanoseg/belt__outfeed__{}/config"
HELD = {
    "nanoseg/status": b"online",
    "nanoseg/layout": encode_json(LAYOUT),
    "nanoseg/belt/status": b"online",
    "nanoseg/belt/outfeed/bolt": b"3",
    "nanoseg/belt/outfeed/nut": b"0",
    "nanoseg/door/status": b"offline",
}


def without_configurations(held):
    return {topic: payload for topic, payload in held.items() if not topic.startswith("homeassistant/")}


def test_mqtt_publishes_records_events_and_counts(broker):
    sent = [record(frame, bolts=min(frame, 3), events=["enter"] * (frame == 1)) for frame in range(6)]
    one = publisher(broker.port)
    with listening(broker.port, "nanoseg/#") as listener:
        with running(one):
            wait_for(lambda: one.counts.connected, "the connection")
            for each in sent:
                one.put(each)
                wait_for(lambda count=each.index: one.counts.published.get("record", 0) > count, "a record")
            wait_for(lambda: len(listener.of("nanoseg/belt/record")) == len(sent), "records")
            assert without_configurations(retained(broker.port)) == HELD
            assert one.counts.connected
        assert [json.loads(each) for each in listener.of("nanoseg/belt/record")] == [each.content for each in sent]
        where = {"source": "belt", "frame": 1, "captured_ns": 1001}
        assert [json.loads(each) for each in listener.of("nanoseg/belt/event")] == [{**where, **sent[1].events[0]}]
        assert listener.of("nanoseg/belt/outfeed/bolt") == [b"0", b"1", b"2", b"3"]
        assert listener.of("nanoseg/belt/outfeed/nut") == [b"0"]
    assert without_configurations(retained(broker.port))["nanoseg/status"] == b"offline"
    assert (one.counts.connected, one.counts.reconnects, one.counts.dropped) == (False, 0, {})


def test_mqtt_put_from_many_threads_loses_nothing_uncounted(broker):
    one = publisher(broker.port)
    with running(one):
        threads = [
            threading.Thread(target=lambda: [one.put(record(frame)) for frame in range(300)], daemon=True)
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: not one.counts.queued, "an empty queue")
    one.put(record(0))
    one.put(Record({"source": "nobody"}))
    assert accounted(one.counts) == 1202
    assert one.counts.dropped["record", "closed"] == 2


def test_mqtt_tells_home_assistant_again_when_it_starts(broker):
    with running(publisher(broker.port, snapshot=lambda source: b"")), listening(broker.port, "#") as listener:
        for count in (1, 2):
            wait_for(lambda count=count: len(listener.of(CAMERA)) >= count, "a configuration")
            wait_for(lambda count=count: len(listener.of(SENSOR.format("nut"))) >= count, "a configuration")
            listener.publish("homeassistant/status", b"online")
        wait_for(lambda: len(listener.of(CAMERA)) == 3, "a configuration")
        assert len(set(listener.of(CAMERA))) == 1


@pytest.mark.parametrize("discovery", [True, False])
def test_mqtt_removes_what_an_earlier_configuration_left(broker, discovery):
    others = {
        "homeassistant/sensor/nanoseg_other/belt__outfeed__bolt/config": b'{"state_topic":"other/belt/outfeed/bolt"}',
        "homeassistant/light/lamp/config": b"{}",
        "nanoseg/of/another/program": b"7",
        "nanoseg_not/ours/at/all": b"7",
    }
    forged = "homeassistant/sensor/nanoseg_nanoseg/forged/config"
    with listening(broker.port, "end") as other:
        for topic, payload in others.items():
            other.publish(topic, payload, retain=True)
        other.publish(forged, b'{"state_topic":"nanoseg_not/ours/at/all"}', retain=True)
    one = publisher(broker.port, discovery=discovery)
    with running(one):
        one.put(record(0))
        one.put(record(0, source="door"))
        wait_for(lambda: "nanoseg/door/mat/nut" in retained(broker.port), "counts")
    before = retained(broker.port)
    assert (SENSOR.format("nut") in before) == discovery
    smaller = Layout(("belt",), (("belt", "outfeed"),), ("bolt",))
    two = publisher(broker.port, layout=smaller, discovery=discovery)
    left = {topic for topic in before if "nut" not in topic and "door" not in topic}
    with running(two):
        wait_for(lambda: retained(broker.port).keys() == left, "removals")
        # While it runs the layout changes back and forth, as it does with a bundle of other classes.
        two.describe(LAYOUT)
        two.put(record(0, bolts=2))
        wait_for(lambda: retained(broker.port).get("nanoseg/belt/outfeed/nut") == b"0", "counts")
        two.describe(smaller)
        wait_for(lambda: retained(broker.port).keys() == left, "removals")
    held = retained(broker.port)
    assert held.keys() & others.keys() == others.keys()
    assert forged not in held


def test_mqtt_without_discovery_removes_it(broker):
    with running(publisher(broker.port)):
        wait_for(lambda: SENSOR.format("nut") in retained(broker.port), "configurations")
    with running(publisher(broker.port, discovery=False)):
        wait_for(lambda: without_configurations(held := retained(broker.port)) == held, "removals")


def test_mqtt_is_online_though_another_says_offline(broker):
    with listening(broker.port, "nanoseg/status") as listener, running(publisher(broker.port)):
        wait_for(lambda: listener.last("nanoseg/status") == b"online", "online")
        listener.publish("nanoseg/status", b"offline", retain=True)
        wait_for(lambda: listener.of("nanoseg/status")[-2:] == [b"offline", b"online"], "online")


def test_mqtt_source_is_offline_from_its_loss_to_its_next_record(broker):
    one = publisher(broker.port)
    with listening(broker.port, "nanoseg/belt/status") as listener, running(one):
        wait_for(lambda: listener.of("nanoseg/belt/status") == [b"offline"], "offline")
        one.put(record(0))
        wait_for(lambda: listener.of("nanoseg/belt/status")[1:] == [b"online"], "online")
        one.source_lost("belt")
        wait_for(lambda: listener.of("nanoseg/belt/status")[2:] == [b"offline"], "offline")
        one.put(record(1))
        wait_for(lambda: listener.of("nanoseg/belt/status")[3:] == [b"online"], "online")


def test_mqtt_publishes_pictures_that_changed_and_holds_none(broker):
    pictures = iter([b"one", None, b"two", b"two"])
    lines, asked = [], []

    def snapshot(source):
        if source == "door":
            raise RuntimeError("no encoder")
        asked.append(source)
        return next(pictures, b"three")

    one = publisher(broker.port, lines, snapshot, snapshot_s=0.1)
    with listening(broker.port, "nanoseg/+/snapshot") as listener, running(one):
        wait_for(lambda: len(asked) > 6, "pictures")
        one.put(record(0))
        wait_for(lambda: one.counts.published.get("record"), "a record")
        wait_for(lambda: len(listener.messages) >= 3, "pictures")
        assert listener.of("nanoseg/belt/snapshot") == [b"one", b"two", b"three"]
    assert lines == [f"mqtt://127.0.0.1:{broker.port}: no pictures of door: no encoder"]
    assert "nanoseg/belt/snapshot" not in retained(broker.port)
