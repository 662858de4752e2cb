"""Read the cameras that the kernel lists."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nanoseg.doctor.machine import Machine

CLASS = "/sys/class/video4linux"
ARGUS = "/usr/sbin/nvargus-daemon"
ARGUS_SOCKET = "/tmp/argus_socket"
_SENSOR = "vi-output, "  # before a CSI sensor's name: "vi-output, imx219 9-0010"


@dataclass(frozen=True)
class Camera:
    """One capture device."""

    device: str  # "/dev/video0"
    name: str
    kind: str  # "csi", or "v4l2" for USB and capture cards
    readable: bool  # this user may open it


@dataclass(frozen=True)
class Cameras:
    """All cameras, and the daemon for CSI ones."""

    devices: tuple[Camera, ...]
    argus: bool | None  # nvargus-daemon, which CSI cameras need, is running; None where it is not installed


def read_cameras(machine: Machine) -> Cameras:
    """Read the nodes of /sys/class/video4linux, with their attributes name and index.

    A USB camera's second node, index 1, holds metadata and no images. CSI sensors share one device, so a second
    sensor has index 1, too.
    """
    found = []
    for node in machine.names(CLASS):
        name = machine.text(f"{CLASS}/{node}/name").strip() or node
        kind = "csi" if name.startswith(_SENSOR) else "v4l2"
        index = machine.text(f"{CLASS}/{node}/index").strip()
        if not node.startswith("video") or (kind == "v4l2" and index not in ("", "0")):
            continue
        device = f"/dev/{node}"
        readable = os.access(machine.path(device), os.R_OK | os.W_OK)
        found.append(Camera(device, name.removeprefix(_SENSOR), kind, readable))
    argus = machine.exists(ARGUS_SOCKET) if machine.exists(ARGUS) else None
    return Cameras(tuple(found), argus)
