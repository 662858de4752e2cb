"""The configuration of the edge service: TOML in structs, checked once, here."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from nanoseg.errors import DependencyError, UsageError
from nanoseg.processing.classes import class_ids
from nanoseg.processing.nms import NmsKind
from nanoseg.service.mqtt.config import MqttConfig
from nanoseg.service.systemd import credential
from nanoseg.sources.camera_url import CameraUrl, parse_camera_url
from nanoseg.tracking.tracker import TrackerName
from nanoseg.utils.toml import read_toml

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Point = tuple[float, float]


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera."""

    name: Name  # letters, digits, '_', '-' and '.': in the page, metrics, records and topics
    url: str  # as `nanoseg run` takes it: /dev/video0, csi://0, rtsp://..., parts://?seed=1


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What finds and segments the objects."""

    bundle: str = "parts"  # its name or path
    backend: str = "auto"
    confidence: Share | None = None  # threshold; by default the bundle's
    iou: Share | None = None  # threshold of NMS; by default the bundle's
    nms: NmsKind | None = None  # by default the bundle's
    max_objects: Count | None = None  # a frame, the most confident
    classes: list[str] | None = None  # names or ids of those that are reported; by default all
    deadline_ms: Positive | None = None  # from a frame's capture to its masks, for which work is shed
    track: TrackerName | None = None  # gives objects identities, track_id
    detect_every: Count = 1  # of frames, with `track`: between them the tracker's boxes are segmented
    engines: str | None = None  # folder of the engine store; by default $NANOSEG_ENGINES, else the user's cache


class RegionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a camera's picture, in which objects are counted."""

    source: str  # a camera's name
    name: Name
    polygon: list[Point]  # x, y; fractions of width and height where all are 0 to 1, else pixels
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5  # of an object's mask that has to lie within
    classes: list[str] | None = None  # names of those that count; by default all that are reported
    dwell_s: Positive | None = None  # seconds of presence without a break after which there is a dwell event


class RedactConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose silhouettes are covered in every picture."""

    classes: Annotated[list[str], msgspec.Meta(min_length=1)]  # names
    mode: Literal["blur", "pixelate", "fill"] = "fill"
    trust_empty: bool = False  # show pictures in which nothing at all was found; see redaction.md first


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page and the numbers."""

    host: str = "127.0.0.1"  # an address to listen on; any other than loopback wants a token
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080  # 0: any free one, which the log names
    token_file: str | None = None  # its first line is the bearer token; by default systemd's credential "token"
    stream_fps: Annotated[float, msgspec.Meta(gt=0, le=120)] = 10.0  # pictures a second of a stream, at most
    max_streams: Count = 16  # readers of streams and events together
    max_body_mb: Positive = 16.0  # of a posted picture
    max_prompts: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64  # of one request


class RecordsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record a frame, as JSON lines."""

    path: str  # the file; older ones are path.1, path.2, ...
    max_mb: Positive = 100.0  # of a file
    keep: Annotated[int, msgspec.Meta(ge=0)] = 10  # older files


class SwapConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a new bundle has to hold before it takes over from the one that runs."""

    frames: Count = 100  # live frames that both see
    agreement: Share = 0.7  # mean IoU of the masks of both, an object that only one of them finds counting 0
    lowest_agreement: Share = 0.5  # the same of each class and of each camera, where there were some objects
    latency: Positive = 1.5  # times the running bundle's median
    memory_mb: Positive = 1024.0  # that it may add
    watch_s: Positive = 120.0  # after the swap, in which a failure puts the one before back


class ServiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    source: Annotated[list[SourceConfig], msgspec.Meta(min_length=1)]
    model: ModelConfig = ModelConfig()
    region: list[RegionConfig] = []
    redact: RedactConfig | None = None
    http: HttpConfig = HttpConfig()
    records: RecordsConfig | None = None
    mqtt: MqttConfig | None = None
    swap: SwapConfig = SwapConfig()


def load_config(path: Path) -> ServiceConfig:
    """Read and check a configuration file.

    Raises:
        UsageError: it, or a file for MQTT, cannot be read, is not TOML, or a key or value is wrong; the message has the
            key's path and what is allowed.
        DependencyError: trackers is wanted, and not installed.
    """
    config = read_toml(path, ServiceConfig, missing_hint="; `nanoseg serve --sample-config` prints one")
    try:
        camera_urls(config)
        _check_regions(config)
        if config.redact is not None and config.model.nms == "across-classes":
            raise UsageError("model.nms: wanted by-class with [redact]: a better box of another class is not covered")
        _check_tracking(config)
        check_http(config.http)
        if config.mqtt is not None:
            config.mqtt.broker()
            config.mqtt.tls_context()
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return config


def sample_path() -> Path:
    """Return the file with every key, which is served where none is named."""
    return Path(__file__).with_name("sample.toml")


def sample_config() -> str:
    """Return the text of a configuration with every key."""
    return sample_path().read_text(encoding="utf-8")


def camera_urls(config: ServiceConfig) -> list[CameraUrl]:
    """Return the addresses of the cameras; raises UsageError with the key of one that is wrong."""
    urls: dict[str, CameraUrl] = {}
    for index, source in enumerate(config.source):
        if source.name in urls:
            raise UsageError(f"source[{index}].name: '{source.name}' is taken; wanted names that differ")
        try:
            url = parse_camera_url(source.url, live=True)
        except UsageError as error:
            raise UsageError(f"source[{index}].url: {error}") from error
        if url is None:
            raise UsageError(f"source[{index}].url: {source.url}: no camera, stream or file")
        urls[source.name] = replace(url, name=source.name)
    return list(urls.values())


def check_labels(config: ServiceConfig, labels: Sequence[str]) -> None:
    """Check the classes that are named against a bundle's; raises UsageError with the key and the labels."""
    keys = {"model.classes": config.model.classes}
    keys["redact.classes"] = None if config.redact is None else config.redact.classes
    keys |= {f"region[{index}].classes": region.classes for index, region in enumerate(config.region)}
    for key, classes in keys.items():
        try:
            class_ids(classes, labels)
        except UsageError as error:
            raise UsageError(f"{key}: {error}") from error


def is_loopback(host: str) -> bool:
    """Return whether a host is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check_regions(config: ServiceConfig) -> None:
    sources, seen = [source.name for source in config.source], set[tuple[str, str]]()
    for index, region in enumerate(config.region):
        key = f"region[{index}]"
        if region.source not in sources:
            raise UsageError(f"{key}.source: no source '{region.source}'; wanted one of {', '.join(sources)}")
        if (region.source, region.name) in seen:
            raise UsageError(f"{key}.name: '{region.name}' is taken; wanted names that differ")
        seen.add((region.source, region.name))
        if len(region.polygon) < 3:
            raise UsageError(f"{key}.polygon: wanted three points or more, got {len(region.polygon)}")
        if not all(math.isfinite(value) and value >= 0 for point in region.polygon for value in point):
            raise UsageError(f"{key}.polygon: wanted numbers from 0")
        if 1 < (largest := max(value for point in region.polygon for value in point)) < 2:
            raise UsageError(
                f"{key}.polygon: {largest:g} is no fraction, and as pixels the region would be smaller than 2 by 2; "
                "wanted fractions of width and height from 0 to 1, or pixels"
            )
        if not _area(region.polygon):
            raise UsageError(f"{key}.polygon: its points lie on a line; wanted an area")


def _check_tracking(config: ServiceConfig) -> None:
    model = config.model
    if model.track is not None and find_spec("trackers") is None:
        raise DependencyError('model.track: trackers is not installed: pip install "nanoseg[track]"')
    if model.detect_every > 1 and model.track is None:
        raise UsageError("model.detect_every: wanted with model.track, which carries the boxes in between")
    if model.detect_every > 1 and config.redact is not None:
        raise UsageError("model.detect_every: wanted 1 with [redact]: who comes in between would not be covered")


def _area(polygon: Sequence[Point]) -> float:
    pairs = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def check_http(http: HttpConfig) -> None:
    """Raise UsageError where other machines can reach the service and no token is wanted."""
    if http.token_file is None and credential("token") is None and not is_loopback(http.host):
        raise UsageError(
            f"http.host: {http.host} can be reached from other machines; wanted http.token_file, a file with a token, "
            "or 127.0.0.1"
        )
