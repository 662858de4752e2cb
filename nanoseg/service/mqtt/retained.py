"""What a broker shall hold of us, and what it does not hold yet."""

from __future__ import annotations

from collections.abc import Iterable


class Retained:
    """Retained messages by topic: those wanted, and those that the broker has got on this connection."""

    def __init__(self) -> None:
        """Want nothing."""
        self._wanted: dict[str, bytes] = {}
        self._held: dict[str, bytes] = {}
        self._changed: dict[str, None] = {}  # topics, in the order they are published
        self._unwanted: dict[str, None] = {}  # topics of which no broker has confirmed that it holds nothing

    def want(self, topic: str, payload: bytes) -> None:
        """Let the broker hold a message of a topic; any before it is replaced."""
        self._wanted[topic] = payload
        self._unwanted.pop(topic, None)
        if self._held.get(topic) != payload:
            self._changed[topic] = None
        else:
            self._changed.pop(topic, None)

    def remove(self, topic: str) -> None:
        """Let the broker hold nothing of a topic."""
        self._wanted.pop(topic, None)
        self._changed[topic] = self._unwanted[topic] = None

    def removed(self, topic: str) -> None:
        """Take note that the broker holds nothing of a topic: until then a removal is published again."""
        self._unwanted.pop(topic, None)

    def __contains__(self, topic: str) -> bool:
        """Return whether a message of a topic is wanted."""
        return topic in self._wanted

    def __len__(self) -> int:
        """Return the number of messages that are to be published."""
        return len(self._changed)

    def publish_again(self, topics: Iterable[str] | None = None) -> None:
        """Publish what is wanted of these topics, None: of all, though it was published before."""
        if topics is None:
            topics = list(self._wanted)
            self._held.clear()
            self._changed.update(self._unwanted)
        for topic in topics:
            if topic in self._wanted:
                self._held.pop(topic, None)
                self._changed[topic] = None

    def take(self) -> tuple[str, bytes] | None:
        """Return the next message to publish, empty where a topic's is to be removed; None: there is none."""
        if not self._changed:
            return None
        topic = next(iter(self._changed))
        del self._changed[topic]
        payload = self._wanted.get(topic, b"")
        if payload:
            self._held[topic] = payload
        else:
            self._held.pop(topic, None)
        return topic, payload
