"""nanoseg/service/home_assistant.py against the fields that Home Assistant's documentation has."""

from __future__ import annotations

import fnmatch
import json
import re

from nanoseg.service.mqtt.home_assistant import configurations, configurations_filter
from nanoseg.service.mqtt.topics import Layout, Topics

# https://www.home-assistant.io/integrations/mqtt/#discovery-topic
CONFIG_TOPIC = re.compile(r"home/(sensor|camera)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")
# Those of the fields that are used, with their types, of
# https://www.home-assistant.io/integrations/sensor.mqtt/ and https://www.home-assistant.io/integrations/camera.mqtt/.
SHARED = {
    "name": str,
    "unique_id": str,
    "availability": [{"topic": str, "payload_available": str, "payload_not_available": str}],
    "availability_mode": str,
    "device": {"identifiers": [str], "name": str, "manufacturer": str, "model": str, "sw_version": str},
    "origin": {"name": str, "sw_version": str},
}
FIELDS = {
    "sensor": {**SHARED, "state_topic": str, "state_class": str, "icon": str},
    "camera": {**SHARED, "topic": str},
}
LAYOUT = Layout(("belt 1", "door"), (("belt 1", "out/feed"), ("belt 1", "Förderer"), ("door", "mat")), ("bolt", "#"))


def fits(value, schema):
    if isinstance(schema, dict):
        return value.keys() == schema.keys() and all(fits(value[key], each) for key, each in schema.items())
    if isinstance(schema, list):
        return bool(value) and all(fits(each, schema[0]) for each in value)
    return isinstance(value, schema) and value != ""


def test_configurations_are_what_home_assistant_reads():
    topics = Topics("site/line 1", LAYOUT)
    found = {topic: json.loads(payload) for topic, payload in configurations(topics, "home", snapshots=True).items()}
    assert len(found) == 2 + 3 * 2
    for topic, configuration in found.items():
        component = CONFIG_TOPIC.fullmatch(topic)[1]
        assert fits(configuration, FIELDS[component]), topic
        assert fnmatch.fnmatchcase(topic, configurations_filter(topics, "home").replace("+", "*"))
        assert configuration["availability_mode"] in ("all", "any", "latest")
        assert configuration.get("state_class", "measurement") in ("measurement", "total", "total_increasing")
    assert len({each["unique_id"] for each in found.values()}) == len(found)
    devices = {json.dumps(each["device"]) for each in found.values()}
    assert sorted(json.loads(each)["name"] for each in devices) == ["belt 1", "door"]


def test_configurations_name_the_topics_that_are_published():
    topics = Topics("nanoseg", LAYOUT)
    found = configurations(topics, "home", snapshots=True)
    assert not [topic for topic in configurations(topics, "home", snapshots=False) if "/camera/" in topic]
    cameras = [json.loads(payload)["topic"] for topic, payload in found.items() if "/camera/" in topic]
    assert cameras == [topics.snapshot(source) for source in LAYOUT.sources]
    sensors = [json.loads(payload)["state_topic"] for topic, payload in found.items() if "/sensor/" in topic]
    assert sensors == [topic for counts in topics.counts.values() for topic in counts.values()]
