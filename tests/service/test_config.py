"""The service's configuration: what is wrong is named by its key, with what is allowed."""

import re

import msgspec
import pytest

from nanoseg.errors import UsageError
from nanoseg.service.config import (
    HttpConfig,
    ServiceConfig,
    camera_urls,
    check_labels,
    is_loopback,
    load_config,
    sample_config,
    sample_path,
)

SOURCE = '[[source]]\nname = "a"\nurl = "parts://?seed=1"\n'
REGION = '[[region]]\nsource = "a"\nname = "r"\npolygon = '


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "nanoseg.toml"
        path.write_text(text)
        return load_config(path)

    return load


def test_config_of_the_sample_has_every_key_with_its_default():
    """What is commented out, too: whole tables, and keys without a default."""
    config = load_config(sample_path())
    assert (config.http, config.swap, config.model) == (HttpConfig(), type(config.swap)(), type(config.model)())
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", sample_config(), flags=re.MULTILINE)
    shown = msgspec.toml.decode(text)
    assert shown.keys() == set(ServiceConfig.__struct_fields__)
    for field in msgspec.inspect.type_info(ServiceConfig).fields:
        struct = next(each for each in _parts(field.type) if isinstance(each, msgspec.inspect.StructType))
        [table] = shown[field.name] if isinstance(shown[field.name], list) else [shown[field.name]]
        assert table.keys() == {key.name for key in struct.fields}, field.name
        for key in struct.fields:
            if key.default not in (None, msgspec.NODEFAULT):
                assert table[key.name] == key.default, f"{field.name}.{key.name}"


def _parts(type_):
    """Yield a type and those that it is made of."""
    yield type_
    for part in (*getattr(type_, "types", ()), *filter(None, [getattr(type_, "item_type", None)])):
        yield from _parts(part)


def test_config_cameras_have_their_names(load):
    config = load(SOURCE + '[[source]]\nname = "b"\nurl = "rtsp://me:secret@cam/1#transport=udp"\n')
    assert [(url.name, url.kind) for url in camera_urls(config)] == [("a", "live"), ("b", "stream")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Object missing required field `source`"),
        ("source = []", "source: Expected `array` of length >= 1"),
        ("[[source]]\nnames = 'a'", "source[0]: Object contains unknown field `names`; did you mean name? There are"),
        ("[[source]]\nname = 'a b'\nurl = '0'", "source[0].name: Expected `str` matching regex"),
        (SOURCE + SOURCE, "source[1].name: 'a' is taken; wanted names that differ"),
        ("[[source]]\nname = 'a'\nurl = '0?fps=x'", "source[0].url: 0?fps=x: fps wants frames a second"),
        (SOURCE + "[redact]\nclasses = ['x']\nmode = 'hide'",
         "redact.mode: Invalid enum value 'hide'; wanted one of blur, "),
        (SOURCE + "[model]\nnms = 'none'", "model.nms: Invalid enum value 'none'; wanted one of across-classes, by-"),
        (SOURCE + "[model]\nnms = 'across-classes'\n[redact]\nclasses = ['x']",
         "model.nms: wanted by-class with [redact]"),
        (SOURCE + "[model]\ntrack = 'sort'",
         "model.track: Invalid enum value 'sort'; wanted one of bytetrack, mcbyte, oc-"),
        (SOURCE + "[model]\ndetect_every = 2", "model.detect_every: wanted with model.track"),
        (SOURCE + "[redact]\nclasses = []", "redact.classes: Expected `array` of length >= 1"),
        (SOURCE + "[model]\nconfidence = 2", "model.confidence: Expected `float` <= 1.0"),
        (SOURCE + "[http]\nport = 70000", "http.port: Expected `int` <= 65535"),
        (SOURCE + "[http]\nhost = '0.0.0.0'", "http.host: 0.0.0.0 can be reached from other machines; wanted http.tok"),
        (SOURCE + "[htp]\nport = 1", "Object contains unknown field `htp`; did you mean http? There are source, mod"),
        (SOURCE + REGION + "[[0, 0], [1, 1]]", "region[0].polygon: wanted three points or more, got 2"),
        (SOURCE + REGION + "[[0, 0], [1, 1], [0.5, 0.5]]", "region[0].polygon: its points lie on a line; wanted an ar"),
        (SOURCE + REGION + "[[0, 0], [1, -1], [0.5, 0.5]]", "region[0].polygon: wanted numbers from 0"),
        (SOURCE + REGION + "[[0.5, 0], [1.02, 0], [1.02, 1]]", "region[0].polygon: 1.02 is no fraction, and as pixels"),
        (SOURCE + REGION + "[[0, 0], [1, nan], [0.5, 0.5]]", "region[0].polygon: wanted numbers from 0"),
        (SOURCE + (REGION + "[[0, 0], [1, 0], [0, 1]]\n") * 2, "region[1].name: 'r' is taken; wanted names that diff"),
        (SOURCE + REGION.replace('"a"', '"b"') + "[[0, 0], [1, 0], [0, 1]]",
         "region[0].source: no source 'b'; wanted one of a"),
        (SOURCE + "[mqtt]\nurl = 'http://x'", "mqtt.url: wanted mqtt://"),
        (SOURCE + "[mqtt]\nurl = 'mqtt://me@x'\npassword_file = '/none'", "mqtt.password_file: /none: cannot be read"),
        (SOURCE + "[mqtt]\nurl = 'mqtts://x'\nca_file = '/none'", "mqtt.ca_file: /none: cannot be read: No such file"),
    ],
)  # fmt: skip
def test_config_refuses(load, text, message):
    with pytest.raises(UsageError) as error:
        load(text)
    assert f"nanoseg.toml: {message}" in str(error.value)


def test_config_of_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError, match="`nanoseg serve --sample-config` prints one"):
        load_config(tmp_path / "none.toml")


def test_config_takes_another_host_with_a_token(load, tmp_path, monkeypatch):
    assert load(SOURCE + "[http]\nhost = '0.0.0.0'\ntoken_file = 'token'").http.host == "0.0.0.0"
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load(SOURCE + "[http]\nhost = '0.0.0.0'").http.token_file is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[model]\nclasses = ['gaer']", "model.classes"),
        ("[redact]\nclasses = ['person']", "redact.classes"),
        (f"{REGION}[[0, 0], [1, 0], [0, 1]]\nclasses = ['x']", r"region\[0\]\.classes"),
    ],
)
def test_config_classes_are_those_of_the_bundle(load, text, key):
    config = load(f"{SOURCE}{text}")
    with pytest.raises(UsageError, match=f"{key}: classes: no such class: .*gear"):
        check_labels(config, ["gear", "nut"])
    check_labels(load(SOURCE + "[model]\nclasses = ['Gear', '1']"), ["gear", "nut"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.168.0.3", False), ("example.com", False)],
)  # fmt: skip
def test_config_is_loopback(host, expected):
    assert is_loopback(host) == expected
