"""Where results go: what is told of cameras."""

import pytest

pytest.importorskip("aiomqtt")
from nanoseg.service import outputs as outputs_module
from nanoseg.service.config import ServiceConfig, SourceConfig
from nanoseg.service.logs import Log
from nanoseg.service.mqtt.config import MqttConfig
from nanoseg.service.mqtt.topics import Layout
from nanoseg.service.outputs import Outputs
from nanoseg.sources.camera_status import CameraStatus
from tests.service.results import a_result

CONFIG = ServiceConfig(source=[SourceConfig("belt", "parts://")], mqtt=MqttConfig(url="mqtt://broker"))


def test_outputs_keep_a_lost_camera_offline_whatever_record_comes_late(monkeypatch):
    monkeypatch.setattr(outputs_module, "LOOK_S", 0.0)
    outputs = Outputs(CONFIG, Log(), lambda: Layout(("belt",)))
    outputs.put(a_result())
    for _ in range(2):
        outputs.watch(lambda: {"belt": CameraStatus("lost")})
        outputs.put(a_result())  # of a frame that waited
    outputs.watch(lambda: {"belt": CameraStatus("lost")})
    said = {}
    while (message := outputs._mqtt._outbox.take()) is not None:
        said[message.topic] = message.payload
    assert said["nanoseg/belt/status"] == b"offline"
    outputs.close()
