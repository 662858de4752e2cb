"""Read the power mode, by name: its numbers differ between boards (0 is 15 W on an Orin Nano Super, else MAXN)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.doctor.machine import Machine

CONFIGURATION = "/etc/nvpmodel.conf"
STATUS = "/var/lib/nvpmodel/status"
QUERY = (("nvpmodel", "-q"), ("/usr/sbin/nvpmodel", "-q"))  # a user's PATH may lack sbin
QUERY_S = 5.0


@dataclass(frozen=True)
class Power:
    """The current power mode, and the number for `nvpmodel -m` of each mode of the board."""

    mode: str | None
    source: str | None  # of the mode: the command or file
    modes: Mapping[str, int]

    @property
    def fastest(self) -> str | None:
        """The mode without limits, MAXN or MAXN_SUPER."""
        return next((name for name in ("MAXN_SUPER", "MAXN") if name in self.modes), None)


def read_power(machine: Machine) -> Power:
    """Read the mode from nvpmodel, else from its status file, else the default of its configuration.

    nvpmodel -q prints `NV Power Mode: MAXN_SUPER` and, on the next line, the number. Its status file holds
    `pmode:0002`, older ones ` fmode:quiet` behind it. /etc/nvpmodel.conf names the numbers:
    `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`, `< PM_CONFIG DEFAULT=1 >` (Jetson Linux Developer Guide, Power Modes).
    """
    configuration = machine.text(CONFIGURATION)
    found = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", configuration, re.MULTILINE)
    modes = {name: int(number) for number, name in found}
    for command in QUERY:
        if match := re.search(r"NV Power Mode:\s*(\S+)", machine.run(command, QUERY_S).stdout):
            return Power(match[1], "nvpmodel", modes)
    names = {number: name for name, number in modes.items()}
    for text, pattern, source in (
        (machine.text(STATUS), r"\bpmode:\s*(\d+)", STATUS),
        (configuration, r"^<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>", f"default of {CONFIGURATION}"),
    ):
        match = re.search(pattern, text, re.MULTILINE)
        if match and int(match[1]) in names:
            return Power(names[int(match[1])], source, modes)
    return Power(None, None, modes)
