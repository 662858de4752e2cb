"""When the fault injector does what: a pure function of its seed and of the time since a camera's start.

So a failure can be repeated, and the schedule goes on while capture processes end and start.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from nanoseg.errors import UsageError
from nanoseg.utils.text import shorten

# What the capture process does to frames, reads and openings.
FRAME_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "freeze": "the same picture again and again",
        "black": "black pictures",
        "size": "pictures of another size",
        "rate": "one picture of five",
        "clock": "the time of capture jumps back or forth",
        "truncated": "pictures that went through a JPEG cut short",
        "hang": "reading never returns",
        "stall": "reading returns when the fault is over",
        "error": "reading fails",
        "gone": "reading and opening fail: no such device",
        "permission": "reading and opening fail: permission denied",
        "crash": "the process that reads ends by a segmentation fault",
    }
)
# What the proxy does to the connection of an RTSP stream.
STREAM_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "half-open": "nothing comes any more, the connection stays",
        "reset": "the connection is reset, and every new one",
        "cut": "the connection ends in the middle of a group of pictures",
        "garbage": "bytes of the packets are changed",
        "keyframe": "keyframes are lost",
        "delay": "nothing comes, then all of it at once",
        "refuse": "the connection ends, and new ones are refused",
        "busy": "the connection ends, and new ones get 453 Not Enough Bandwidth",
        "password": "the connection ends, and new ones get 401 Unauthorized",
        "jump": "the stream's clock jumps back or forth",
    }
)
KINDS: Mapping[str, str] = MappingProxyType({**FRAME_KINDS, **STREAM_KINDS})
OPENING_KINDS = ("gone", "permission")  # of FRAME_KINDS: those that an opening meets, too
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m)?")
_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, None: 1.0}
_OPTIONS = ("seed", "kinds", "every", "for", "count")


@dataclass(frozen=True)
class Fault:
    """One fault."""

    number: int  # from 1
    kind: str  # one of KINDS
    start_s: float  # since the camera's start
    end_s: float
    seed: int  # of what is random within it


@dataclass(frozen=True)
class FaultSchedule:
    """Faults of random kinds, one in each period after the first one, which has none."""

    kinds: Sequence[str]
    seed: int = 1
    every_s: float = 20.0  # a period
    for_s: float = 3.0  # a fault lasts half of it to one and a half
    count: int | None = None  # of faults, after which there are none; None: without end

    def fault(self, number: int) -> Fault:
        """Return a fault by its number, from 1."""
        draw = random.Random(f"{self.seed}/{number}")
        length_s = min(self.for_s * draw.uniform(0.5, 1.5), 0.9 * self.every_s)
        start_s = number * self.every_s + draw.uniform(0, 0.5) * (self.every_s - length_s)
        return Fault(number, draw.choice(list(self.kinds)), start_s, start_s + length_s, draw.randrange(1 << 31))

    def at(self, time_s: float) -> Fault | None:
        """Return the fault that is under way at a time, in seconds since the camera's start; None: all is well."""
        number = int(time_s // self.every_s)
        if number < 1 or (self.count is not None and number > self.count):
            return None
        fault = self.fault(number)
        return fault if fault.start_s <= time_s < fault.end_s else None

    def faults(self) -> Iterator[Fault]:
        """Yield all faults in their order."""
        numbers = itertools.count(1) if self.count is None else range(1, self.count + 1)
        yield from map(self.fault, numbers)


def parse_fault_schedule(options: str, kinds: Sequence[str]) -> FaultSchedule:
    """Return the schedule that `seed=7&kinds=freeze,hang&every=20s&for=3s&count=10` describes.

    Args:
        options: each of them may be missing.
        kinds: those that the source behind can have, which is also the default.

    Raises:
        UsageError: an option is invalid; one line names it, what was wanted, and what there is.
    """
    values: dict[str, str] = {}
    for item in filter(None, options.split("&")):
        key, _, value = item.partition("=")
        if key not in _OPTIONS:
            raise UsageError(
                f"faults://: unknown option '{shorten(key, 60)}'; there are source, name, timeout, frozen, "
                f"{', '.join(_OPTIONS)}"
            )
        values[key] = value
    chosen = [kind for kind in values.get("kinds", ",".join(kinds)).split(",") if kind]
    for kind in chosen:
        if kind not in kinds:
            other = " of this source; an RTSP stream has it" if kind in STREAM_KINDS else ""
            raise UsageError(f"faults://: no kind '{shorten(kind, 60)}'{other}; wanted some of {', '.join(kinds)}")
    if not chosen:
        raise UsageError(f"faults://: kinds is empty; wanted some of {', '.join(kinds)}")
    numbers = {key: _number(key, values[key]) for key in ("seed", "count") if key in values}
    every_s, for_s = _seconds("every", values.get("every", "20s")), _seconds("for", values.get("for", "3s"))
    if for_s >= every_s:
        raise UsageError(f"faults://: for={for_s:g}s: wanted less than every={every_s:g}s")
    return FaultSchedule(tuple(chosen), numbers.get("seed", 1), every_s, for_s, numbers.get("count"))


def _number(key: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise UsageError(f"faults://: {key}={shorten(text, 60)}: wanted a number from 0 on")
    return int(text)


def _seconds(key: str, text: str) -> float:
    match = _TIME.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.01 <= seconds <= 1e6:
        raise UsageError(f"faults://: {key}={shorten(text, 60)}: wanted a time such as 20s, 500ms or 2min")
    return seconds
