"""Cameras, by the names that the kernel gives them."""

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
    """One device that gives pictures."""

    device: str  # "/dev/video0"
    name: str
    kind: str  # csi, or v4l2 for USB and capture cards
    readable: bool  # this user may open it


@dataclass(frozen=True)
class Cameras:
    """What there is to see with."""

    devices: tuple[Camera, ...]
    argus: bool | None  # nvargus-daemon, which CSI cameras need, answers; None where there is none


def read_cameras(machine: Machine) -> Cameras:
    """The nodes of /sys/class/video4linux by their attributes name and index (Linux, Video4Linux device nodes).

    A USB camera's second node, index 1, holds metadata and no pictures; CSI sensors share one device, so a second
    sensor has index 1 too.
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
