"""Read the installed Debian packages of JetPack."""

from __future__ import annotations

import re

from nanoseg.doctor.machine import Machine

STATUS = "/var/lib/dpkg/status"
PATTERN = re.compile(
    r"nvidia-(jetpack|l4t-core|tensorrt)|(python3-)?libnvinfer(-lean)?\d*|libopencv-python|python3-opencv"
)


def read_packages(machine: Machine) -> dict[str, str]:
    """Read names and versions of the installed packages that matter here; empty where there is no dpkg.

    The file is a list of stanzas in Debian's control format (dpkg-query(1), deb822(5)): fields `Package`, `Status`
    ("install ok installed") and `Version` ("10.3.0.30-1+cuda12.5").
    """
    found = {}
    for stanza in machine.text(STATUS).split("\n\n"):
        name = _field(stanza, "Package")
        if PATTERN.fullmatch(name) and _field(stanza, "Status").endswith(" installed"):
            found[name] = _field(stanza, "Version")
    return found


def upstream(version: str) -> str:
    """Return a Debian version without epoch and revision: 10.3.0.30-1+cuda12.5 -> 10.3.0.30."""
    return re.split(r"[-+~]", version.partition(":")[2] or version)[0]


def _field(stanza: str, name: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*)$", stanza, re.MULTILINE)
    return match[1].strip() if match else ""
