"""Read the board and its JetPack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.doctor.machine import Machine
from nanoseg.doctor.packages import upstream
from nanoseg.utils.versions import version_tuple

RELEASE = "/etc/nv_tegra_release"
DEVICE_TREE = ("/proc/device-tree", "/sys/firmware/devicetree/base")
OLDEST_L4T = (36, 4)  # JetPack 6.1, the first with TensorRT 10
# L4T -> JetPack, from NVIDIA's JetPack archive. Other releases are shown by their L4T alone.
JETPACKS = {
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
# Chip -> its GPU's name in CUDA and its compute capability.
CHIPS = {"tegra194": ("Xavier", "7.2"), "tegra234": ("Orin", "8.7"), "tegra264": ("Thor", "11.0")}


@dataclass(frozen=True)
class Board:
    """The board, or the PC's mainboard; None where a value is not known."""

    name: str | None
    jetson: bool
    chip: str | None  # "tegra234"
    module: str | None  # "p3767-0005"
    super: bool  # flashed with the higher clocks of JetPack 6.2
    l4t: str | None  # "36.4.3"
    jetpack: str | None  # "6.2"
    jetpack_package: str | None  # version of nvidia-jetpack, which brings CUDA, TensorRT and OpenCV
    supported: bool | None  # None off a Jetson, and where L4T is not known

    @property
    def system(self) -> str:
        """JetPack and L4T for people: `JetPack 6.2 (L4T 36.4.3)`."""
        l4t = f"L4T {self.l4t}" if self.l4t else "L4T not known"
        return f"JetPack {self.jetpack} ({l4t})" if self.jetpack else l4t


def read_board(machine: Machine, packages: Mapping[str, str]) -> Board:
    """Read the board from its device tree, or from DMI on a PC."""
    compatible = _strings(machine, "compatible")
    chip = next((each.removeprefix("nvidia,") for each in compatible if each.startswith("nvidia,tegra")), None)
    l4t = read_l4t(machine, packages)
    jetson = chip is not None or l4t is not None
    # "nvidia,p3768-0000+p3767-0005-super": carrier board, module. "nvidia,p3767-0005": the module alone.
    modules = list(
        filter(None, (re.fullmatch(r"nvidia,(?:.+\+)?(p\d{4}-\d{4})(-super)?", each) for each in compatible))
    )
    package = packages.get("nvidia-jetpack")
    return Board(
        name=next(iter(_strings(machine, "model")), None) or _firmware_name(machine),
        jetson=jetson,
        chip=chip,
        module=modules[0][1] if modules else None,
        super=any(match[2] for match in modules),
        l4t=l4t,
        jetpack=JETPACKS.get(l4t or ""),
        jetpack_package=upstream(package) if package else None,
        supported=version_tuple(l4t) >= OLDEST_L4T if jetson and l4t else None,
    )


def read_l4t(machine: Machine, packages: Mapping[str, str]) -> str | None:
    """Read the version of L4T from /etc/nv_tegra_release, else from the package nvidia-l4t-core.

    The file's first line is (Jetson Linux Developer Guide, and files that users published)

        # R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 ...
    """
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", machine.text(RELEASE))
    if match:
        return f"{match[1]}.{match[2]}"
    package = packages.get("nvidia-l4t-core")  # "36.4.7-20250918154033"
    return upstream(package) if package else None


def _strings(machine: Machine, name: str) -> list[str]:
    """Read a string list of the device tree's root, NUL-terminated (Devicetree Specification, 2.2.4)."""
    for folder in DEVICE_TREE:
        if text := machine.text(f"{folder}/{name}"):
            return [each.strip() for each in text.split("\0") if each.strip()]
    return []


def _firmware_name(machine: Machine) -> str | None:
    names = [machine.text(f"/sys/class/dmi/id/{name}").strip() for name in ("sys_vendor", "product_name")]
    return " ".join(each for each in names if each) or None
