"""The `[mqtt]` table of the service's configuration."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn
from urllib.parse import unquote

import msgspec

from nanoseg.errors import UsageError, os_reason
from nanoseg.utils.read_file import read_text
from nanoseg.utils.urls import redact_urls

_PORTS = {"mqtt": 1883, "mqtts": 8883}
# Without an example of a password, which would be taken for one and left out of the message.
_FORM = "mqtt://HOST:PORT or mqtts://HOST:PORT, and USER:PASSWORD before an @ before the host if the broker wants them"
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9_.-]+")
_MAX_TOPIC = 200  # characters, of at most 65,535 bytes that a topic may have
_MIN_SNAPSHOT_S = 0.1


@dataclass(frozen=True)
class Broker:
    """Where the broker is, and as whom it is used."""

    host: str
    port: int
    tls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The URL without user and password, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


class MqttConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[mqtt]`: the broker, and what is published there."""

    url: str  # mqtt://user:password@host:1883, or mqtts:// with TLS; user, password and port may be left out
    password_file: str | None = None  # whose first line is the password, read again for each connection
    ca_file: str | None = None  # certificates (PEM) that an mqtts:// broker's is verified by; by default the system's
    topic: str = "nanoseg"  # the first part of all topics; another one for each device that uses the broker
    discovery: bool = True  # let Home Assistant find cameras and counts
    discovery_prefix: str = "homeassistant"  # as Home Assistant is configured
    snapshot_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0  # from a camera's picture to its next; 0: none
    masks: bool = False  # whether records have their masks' run lengths, by far the largest part

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        try:
            broker = _parse(self.url)
        except ValueError as error:
            _refuse("url", str(error))
        if self.password_file is not None and broker.user is None:
            _refuse("password_file", "wanted a user in the url with it, before an @ before the host")
        if self.password_file is not None and broker.password is not None:
            _refuse("password_file", "the url has a password, too; leave one of them out")
        if self.ca_file is not None and not broker.tls:
            _refuse("ca_file", "wanted an mqtts:// url with it, as mqtt:// is not encrypted")
        if 0 < self.snapshot_s < _MIN_SNAPSHOT_S:
            _refuse("snapshot_s", f"wanted 0 (no pictures) or at least {_MIN_SNAPSHOT_S}, got {self.snapshot_s}")
        for key in ("topic", "discovery_prefix"):
            if fault := _topic_fault(getattr(self, key)):
                _refuse(key, f"{fault}, got {getattr(self, key)[:_MAX_TOPIC]!r}")

    def __repr__(self) -> str:
        """Return the fields, without the password."""
        shown: dict[str, Any] = {**msgspec.structs.asdict(self), "url": redact_urls(self.url)}
        return f"MqttConfig({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def broker(self) -> Broker:
        """Return the broker that the URL names, with the password of `password_file` as it is now.

        Raises:
            UsageError: that file cannot be read, or is empty.
        """
        broker = _parse(self.url)
        if self.password_file is None:
            return broker
        try:
            password = read_text(self.password_file).partition("\n")[0].rstrip("\r")
        except UsageError as error:
            raise UsageError(f"mqtt.password_file: {error}") from error
        if not password:
            raise UsageError(
                f"mqtt.password_file: {self.password_file}: wanted the password in its first line, got none"
            )
        return Broker(broker.host, broker.port, broker.tls, broker.user, password)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what verifies the broker's certificate; None for a broker without TLS.

        Raises:
            UsageError: the file of CAs cannot be used.
        """
        if not _parse(self.url).tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise UsageError(f"mqtt.ca_file: {self.ca_file}: wanted certificates in PEM form") from error
        except OSError as error:
            raise UsageError(f"mqtt.ca_file: {self.ca_file}: cannot be read: {os_reason(error)}") from error


def _refuse(key: str, message: str) -> NoReturn:
    """Raise an error that names its key as those of msgspec do."""
    raise msgspec.ValidationError(f"{message} - at `$.mqtt.{key}`")


def _parse(url: str) -> Broker:
    """Return the broker of a URL; a ValueError quotes nothing that may be a part of a password."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        got = f"{scheme}://" if separator and scheme.isalnum() else "none of these schemes"
        raise ValueError(f"wanted {_FORM}, got {got}")
    # A password may hold any character, and there is nothing behind the host.
    login, at, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if at and not user:
        raise ValueError(f"wanted {_FORM}, got no user before the @")
    match = _HOST.match(place)
    if match is None:
        raise ValueError(f"wanted {_FORM}, got no host")
    rest = place[match.end() :].removesuffix("/")
    port = rest.removeprefix(":")
    if rest and (not rest.startswith(":") or not port.isdecimal() or not 1 <= int(port[:6]) <= 65535):
        raise ValueError(f"wanted {_FORM}, got something else than a port of 1 to 65535 behind the host")
    return Broker(
        match[0].strip("[]"),
        int(port or _PORTS[scheme]),
        scheme == "mqtts",
        unquote(user) if at else None,
        unquote(password) if colon else None,
    )


def _topic_fault(topic: str) -> str:
    """Return what a topic that others are built on must be and is not; empty for a good one."""
    if not topic or len(topic) > _MAX_TOPIC:
        return f"wanted 1 to {_MAX_TOPIC} characters"
    if any(letter in "+#" or not letter.isprintable() for letter in topic):
        return "wanted a topic without +, # and control characters"
    if topic.startswith("$") or "" in topic.split("/"):
        return "wanted a topic that begins and ends with a name, such as site/line1"
    return ""
