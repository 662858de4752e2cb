"""Records and publishers for the tests of MQTT."""

from __future__ import annotations

import json

from nanoseg.service.frame_record import FrameRecord
from nanoseg.service.mqtt.config import MqttConfig
from nanoseg.service.mqtt.publisher import MqttPublisher
from nanoseg.service.mqtt.topics import Layout

LAYOUT = Layout(("belt", "door"), (("belt", "outfeed"), ("door", "mat")), ("bolt", "nut"), "parts")


class Record(FrameRecord):
    """A record of given content."""

    made = None

    def __init__(self, content):
        self.content, self.source = content, content["source"]
        self.index, self.captured_ns = content.get("frame", 0), content.get("captured_ns", 0)
        self.regions, self.events = content.get("regions", {}), content.get("events", ())
        self.nbytes = 0

    def json(self):
        """Return the content."""
        return json.dumps(self.content).encode()


def record(frame, source="belt", bolts=0, events=(), padding=0):
    """A record as the service writes it; `bolts` are in the source's region."""
    return Record(content_of(frame, source, bolts, events, padding))


def content_of(frame, source="belt", bolts=0, events=(), padding=0):
    """What such a record says."""
    region = {"belt": "outfeed", "door": "mat"}[source]
    mask = {"size": [4, 6], "counts": "0" * padding + "11"}
    return {
        "source": source,
        "frame": frame,
        "name": f"frame{frame}",
        "captured_ns": 1_000 + frame,
        "objects": [{"class_id": 0, "class_name": "bolt", "confidence": 0.5, "xyxy": [0, 0, 1, 1], "mask": mask}],
        "regions": {region: {"bolt": bolts}},
        "events": [{"event": each, "region": region, "class_name": "bolt", "count": bolts} for each in events],
    }


def publisher(port, lines=None, snapshot=None, layout=LAYOUT, login="", scheme="mqtt", **settings):
    """A publisher for a broker of this machine; what it tells is appended to `lines`."""
    config = MqttConfig(url=f"{scheme}://{login}127.0.0.1:{port}", **settings)
    return MqttPublisher(config, layout, [].append if lines is None else lines.append, snapshot)


def accounted(counts, kind="record"):
    """How many records, or events where none is queued, a publisher can account for."""
    lost = sum(count for (of, _), count in counts.dropped.items() if of == kind)
    return counts.published.get(kind, 0) + lost + (counts.queued if kind == "record" else 0)
