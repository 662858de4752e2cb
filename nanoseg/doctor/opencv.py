"""Read which OpenCV is loaded, and whether it has GStreamer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanoseg.doctor.machine import Machine

# pip's packages; all hold the same module, so two of them overwrite each other.
DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True)
class OpenCv:
    """The OpenCV that `import cv2` loads."""

    version: str | None  # None where it is missing or cannot be loaded
    error: str | None  # reason why it cannot be loaded
    path: str | None
    gstreamer: str | None  # its version; None without GStreamer
    pip: tuple[str, ...]  # pip's packages that are installed
    system: str | None  # the folder of JetPack's or the distribution's own OpenCV, for the system's Python

    @property
    def shadows(self) -> bool:
        """Whether pip's OpenCV hides the system's."""
        return bool(self.pip and self.system)


def read_opencv(machine: Machine) -> OpenCv:
    """Read OpenCV; its build information has a line `GStreamer:     YES (1.20.3)` or `NO`."""
    result = machine.python("-m", "nanoseg.doctor.probe", "cv2")
    match = re.search(r"^\s*GStreamer:\s*YES(?:\s*\((?:ver )?([^)]*)\))?", str(result.get("build", "")), re.MULTILINE)
    return OpenCv(
        version=result.get("version"),
        error=result.get("error"),
        path=result.get("path"),
        gstreamer=(match[1] or "yes") if match else None,
        pip=tuple(name for name in DISTRIBUTIONS if machine.installed(name)),
        system=_system(machine),
    )


def _system(machine: Machine) -> str | None:
    """Find the system's OpenCV: JetPack's is in /usr/lib/python3.10/dist-packages, Ubuntu's in /usr/lib/python3/..."""
    for folder in machine.names("/usr/lib"):
        packages = f"/usr/lib/{folder}/dist-packages"
        if folder.startswith("python3") and any(name.startswith("cv2") for name in machine.names(packages)):
            return packages
    return None
