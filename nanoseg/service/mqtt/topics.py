"""The topics of a service's records, counts and events; names of any letters become valid ones."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

_MAX_SLUG = 48  # characters
_MAX_LAYOUT, _MAX_TOPICS = 1_000_000, 100_000  # bytes and topics of a layout; anybody may have written it
_OTHER = re.compile(r"[^A-Za-z0-9-]+")


@dataclass(frozen=True)
class Layout:
    """What a service publishes about."""

    sources: tuple[str, ...]  # names of `[[source]]`
    regions: tuple[tuple[str, str], ...] = ()  # source and name of `[[region]]`
    classes: tuple[str, ...] = ()  # that may be found
    bundle: str = ""


class Topics:
    """The topics of one layout, below one topic."""

    def __init__(self, topic: str, layout: Layout) -> None:
        """Choose a level for each name.

        Args:
            topic: `[mqtt] topic`.
            layout: the names.
        """
        self.layout = layout
        self.status, self.held = f"{topic}/status", f"{topic}/layout"
        # Of this service among others of a broker, whatever their names are.
        self.node = f"nanoseg_{'__'.join(map(_slug_of_itself, topic.split('/')))}"
        self.sources = slugs(layout.sources)
        self.classes = slugs(layout.classes)
        self.regions = {source: slugs(name for of, name in layout.regions if of == source) for source in self.sources}
        self._topic = topic
        self.counts = {
            source: {
                (region, name): f"{topic}/{level}/{region_level}/{class_level}"
                for region, region_level in self.regions[source].items()
                for name, class_level in self.classes.items()
            }
            for source, level in self.sources.items()
        }

    def source_status(self, source: str) -> str:
        """Return the topic of whether a source's frames come."""
        return f"{self._topic}/{self.sources[source]}/status"

    def record(self, source: str) -> str:
        """Return the topic of a source's records."""
        return f"{self._topic}/{self.sources[source]}/record"

    def event(self, source: str) -> str:
        """Return the topic of the events of a source's regions."""
        return f"{self._topic}/{self.sources[source]}/event"

    def snapshot(self, source: str) -> str:
        """Return the topic of a source's pictures."""
        return f"{self._topic}/{self.sources[source]}/snapshot"

    def retained(self) -> set[str]:
        """Return the topics of what the sources have retained: their status and counts."""
        counts = {topic for counts in self.counts.values() for topic in counts.values()}
        return counts | {self.source_status(source) for source in self.sources}

    def retained_of(self, layout: bytes) -> set[str]:
        """Return the same of the layout that the broker holds in `held`; none where that is no layout, or too large."""
        try:
            earlier = msgspec.json.decode(layout[:_MAX_LAYOUT], type=Layout)
        except msgspec.DecodeError:
            return set()
        if len(earlier.sources) + len(earlier.regions) * len(earlier.classes) > _MAX_TOPICS:
            return set()
        return Topics(self._topic, earlier).retained()


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Return a slug of ASCII letters, digits, `-` and single `_` for each name, no two of them the same.

    It depends on the names alone, not on their order. A name that is a slug stays as it is.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[_slug(name)].append(name)
    found: dict[str, str] = {}
    taken = set(alike)
    for slug, group in sorted(alike.items()):
        for name in sorted(group):
            unaltered = name == slug or len(group) == 1
            found[name] = slug if slug and unaltered else _with_hash(slug, name, taken)
    return found


def _slug(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _OTHER.sub("_", letters).strip("_")[:_MAX_SLUG].rstrip("_")


def _slug_of_itself(name: str) -> str:
    """Return a slug that no other name has."""
    slug = _slug(name)
    return slug if slug == name else _with_hash(slug, name, set())


def _with_hash(slug: str, name: str, taken: set[str]) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    length = 8
    while (candidate := f"{slug}_{digest[:length]}".lstrip("_")) in taken:
        length += 8
    taken.add(candidate)
    return candidate
