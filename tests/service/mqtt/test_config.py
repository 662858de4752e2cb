"""nanoseg/service/mqtt/config.py: what is refused, in one line that names the key and no password."""

from __future__ import annotations

import msgspec
import pytest

from nanoseg.errors import UsageError
from nanoseg.service.mqtt.config import Broker, MqttConfig
from nanoseg.utils.toml import read_toml


class Service(msgspec.Struct):
    mqtt: MqttConfig


def read(folder, text):
    file = folder / "service.toml"
    file.write_text(f"[mqtt]\n{text}\n")
    return read_toml(file, Service).mqtt


@pytest.mark.parametrize(
    ("url", "broker", "address"),
    [
        ("mqtt://broker", Broker("broker", 1883, False), "mqtt://broker:1883"),
        ("MQTTS://broker.local/", Broker("broker.local", 8883, True), "mqtts://broker.local:8883"),
        ("mqtt://me@10.0.0.7:1", Broker("10.0.0.7", 1, False, "me"), "mqtt://10.0.0.7:1"),
        ("mqtt://me:se:cr@et/?@host:65535", Broker("host", 65535, False, "me", "se:cr@et/?"), "mqtt://host:65535"),
        ("mqtt://m%40e:%C3%A9%25@[fe80::1%eth0]", Broker("fe80::1%eth0", 1883, False, "m@e", "é%"), None),
        ("mqtt://me:@host", Broker("host", 1883, False, "me", ""), "mqtt://host:1883"),
    ],
)
def test_mqtt_config_url_forms(tmp_path, url, broker, address):
    config = read(tmp_path, f"url = '{url}'")
    assert config.broker() == broker
    assert config.broker().address == (address or "mqtt://[fe80::1%eth0]:1883")
    assert repr(config).isprintable()
    if broker.password:
        assert broker.password not in repr(config) + repr(config.broker())
        assert url not in repr(config)


URL = 'url = "mqtt://host"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mqtt: Object missing required field `url`"),
        ('url = "http://me:hidden@host"', "mqtt.url: wanted mqtt://"),
        ('url = "me:hidden@host:1883"', "got none of these schemes"),
        ('url = "mqtt://me:hidden"', "got something else than a port of 1 to 65535 behind the host"),
        ('url = "mqtt://me:hidden@host:99999"', "got something else than a port"),
        ('url = "mqtt://me:hidden@host:0"', "got something else than a port"),
        ('url = "mqtt://me:hidden@host:1883/topic"', "got something else than a port"),
        ('url = "mqtt://me:hidden@"', "got no host"),
        ('url = "mqtt://:hidden@host"', "got no user before the @"),
        ("url = 7", "mqtt.url: Expected `str`, got `int`"),
        (f"{URL}discovery = 1", "mqtt.discovery: Expected `bool`, got `int`"),
        (f"{URL}pasword_file = 'x'", "mqtt: Object contains unknown field `pasword_file`"),
        (f"{URL}topic = ''", "mqtt.topic: wanted 1 to 200 characters, got ''"),
        (f"{URL}topic = 'a/#'", "mqtt.topic: wanted a topic without +, # and control characters, got 'a/#'"),
        (f"{URL}topic = 'a/+/b'", "mqtt.topic: wanted a topic without +, #"),
        (f'{URL}topic = "a\\u0000b"', "mqtt.topic: wanted a topic without +, #"),
        (f"{URL}topic = '/a'", "mqtt.topic: wanted a topic that begins and ends with a name"),
        (f"{URL}topic = '$SYS/a'", "mqtt.topic: wanted a topic that begins"),
        (f"{URL}discovery_prefix = 'a//b'", "mqtt.discovery_prefix: wanted a topic that begins"),
        (f"{URL}snapshot_s = -1", "mqtt.snapshot_s: Expected `float` >= 0.0"),
        (f"{URL}snapshot_s = nan", "mqtt.snapshot_s: Expected `float` >= 0.0"),
        (f"{URL}snapshot_s = 0.01", "mqtt.snapshot_s: wanted 0 (no pictures) or at least 0.1, got 0.01"),
        (f"{URL}ca_file = 'ca.pem'", "mqtt.ca_file: wanted an mqtts:// url with it"),
        (
            f"{URL}password_file = 'x'",
            "mqtt.password_file: wanted a user in the url with it, before an @ before the host",
        ),
        (
            'url = "mqtt://me:hidden@host"\npassword_file = "x"',
            "mqtt.password_file: the url has a password, too; leave one of them out",
        ),
    ],
)
def test_mqtt_config_refuses(tmp_path, text, message):
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path}/service.toml: mqtt")
    assert str(raised.value).isprintable()
    chain = [raised.value, raised.value.__cause__]
    assert "hidden" not in " ".join(map(repr, chain)) + str(chain[1])


def test_mqtt_config_password_file_is_read_each_time(tmp_path):
    file = tmp_path / "password"
    config = MqttConfig(url="mqtt://me@host", password_file=str(file))
    with pytest.raises(UsageError, match=f"^mqtt.password_file: {file}: cannot be read: No such file or directory$"):
        config.broker()
    for text, password in [("one\n", "one"), ("two three\r\nmore", "two three"), (" é ", " é ")]:
        file.write_text(text, newline="")
        assert config.broker().password == password
    file.write_text("\n")
    with pytest.raises(UsageError, match="wanted the password in its first line, got none"):
        config.broker()


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read: No such file"), ("x", "wanted certificates")])
def test_mqtt_ca_file_is_checked_at_the_start(tmp_path, content, message):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=f"^mqtt.ca_file: {file}: {message}"):
        MqttConfig(url="mqtts://host", ca_file=str(file)).tls_context()
