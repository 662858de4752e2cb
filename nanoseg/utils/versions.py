"""Version numbers that can be compared."""

from __future__ import annotations

import re


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: `10.13.3.9` -> (10, 13, 3).

    A fourth number counts the builds of one release, in NVIDIA's libraries as in others.
    """
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
