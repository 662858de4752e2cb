"""Home Assistant's MQTT discovery: what makes a service's cameras and counts appear there by themselves.

Each entity has a configuration of its own, which Home Assistant of any age reads; the names of its fields are those of

- https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
- https://www.home-assistant.io/integrations/sensor.mqtt/
- https://www.home-assistant.io/integrations/camera.mqtt/
"""

from __future__ import annotations

from typing import Any

from nanoseg import __version__
from nanoseg.service.mqtt.topics import Topics
from nanoseg.utils.names import encode_json

ONLINE, OFFLINE = b"online", b"offline"


def birth_topic(prefix: str) -> str:
    """Return the topic on which Home Assistant says `online` when it starts."""
    return f"{prefix}/status"


def configurations_filter(topics: Topics, prefix: str) -> str:
    """Return the filter that matches the configurations of a service, those of earlier layouts too."""
    return f"{prefix}/+/{topics.node}/+/config"


def configurations(topics: Topics, prefix: str, snapshots: bool) -> dict[str, bytes]:
    """Return the configuration of each entity by its topic: JSON, to be retained.

    Args:
        topics: of the service.
        prefix: Home Assistant's discovery prefix.
        snapshots: whether pictures are published, so that there is a camera for each source.
    """
    found: dict[str, bytes] = {}
    for source, level in topics.sources.items():
        shared = _shared(topics, source)
        if snapshots:
            entity = {"name": "Camera", "unique_id": f"{topics.node}__{level}", "topic": topics.snapshot(source)}
            found[f"{prefix}/camera/{topics.node}/{level}/config"] = encode_json({**entity, **shared})
        for (region, name), topic in topics.counts[source].items():
            # A slug has no two underscores in a row: no two entities get the same.
            entity_id = f"{level}__{topics.regions[source][region]}__{topics.classes[name]}"
            entity = {
                "name": f"{region} {name}",
                "unique_id": f"{topics.node}__{entity_id}",
                "state_topic": topic,
                "state_class": "measurement",
                "icon": "mdi:counter",
            }
            found[f"{prefix}/sensor/{topics.node}/{entity_id}/config"] = encode_json({**entity, **shared})
    return found


def _shared(topics: Topics, source: str) -> dict[str, Any]:
    """Return the fields that all entities of a source have: one device, there while both service and source are."""
    device = {
        "identifiers": [f"{topics.node}__{topics.sources[source]}"],
        "name": source,
        "manufacturer": "nanoseg",
        "model": topics.layout.bundle or "nanoseg",
        "sw_version": __version__,
    }
    payloads = {"payload_available": ONLINE.decode(), "payload_not_available": OFFLINE.decode()}
    return {
        "availability": [
            {"topic": topics.status, **payloads},
            {"topic": topics.source_status(source), **payloads},
        ],
        "availability_mode": "all",
        "device": device,
        "origin": {"name": "nanoseg", "sw_version": __version__},
    }
