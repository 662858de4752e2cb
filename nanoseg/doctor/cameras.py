"""Read the cameras that the kernel lists."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nanoseg.doctor.machine import Machine
from nanoseg.doctor.v4l2_modes import Mode, read_modes
from nanoseg.utils.open_files import processes_with

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
    modes: tuple[Mode, ...] = ()  # of a V4L2 device that this user may open
    users: tuple[str, ...] = ()  # who has it open: "cheese (4711)"
    read_by: str = ""  # what nanoseg reads it by: a pipeline of GStreamer's, or OpenCV


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
        path = machine.path(device)
        readable = os.access(path, os.R_OK | os.W_OK)
        modes = read_modes(path) if readable and kind == "v4l2" else ()
        users = tuple(f"{user.name} ({user.pid})" for user in processes_with(path)) if path.exists() else ()
        read_by = "GStreamer: nvarguscamerasrc ! nvvidconv" if kind == "csi" else "OpenCV, V4L2"
        found.append(Camera(device, name.removeprefix(_SENSOR), kind, readable, modes, users, read_by))
    argus = machine.exists(ARGUS_SOCKET) if machine.exists(ARGUS) else None
    return Cameras(tuple(found), argus)
