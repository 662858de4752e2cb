"""What to mend on a Jetson: JetPack, power mode, memory."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.facts import Facts
from nanoseg.doctor.finding import Finding

JETPACK_PAGE = "https://developer.nvidia.com/embedded/jetpack"
ENOUGH_SWAP_MB = 4000
SWAP = (
    "sudo systemctl disable nvzramconfig; sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && "
    "sudo mkswap /swapfile && sudo swapon /swapfile"
)


def jetson_findings(facts: Facts) -> Iterator[Finding]:
    """Nothing off a Jetson."""
    if facts.board.jetson:
        yield from _jetpack(facts)
        yield from _power(facts)
        yield from _memory(facts)


def _jetpack(facts: Facts) -> Iterator[Finding]:
    board = facts.board
    if board.supported is False:
        new = f"flash JetPack 6.2 or newer: {JETPACK_PAGE}"
        yield Finding(
            "jetpack.unsupported",
            "error",
            f"{board.system} is out of scope: it brings TensorRT 8 at most, nanoseg wants 10.3 or newer",
            "no engine is built or run here; what runs, runs on the CPU",
            "an Orin or a Thor: JetPack 6 is not made for this board" if board.chip not in ("tegra234", None) else new,
        )
    elif board.l4t is None:
        yield Finding(
            "jetpack.unknown",
            "warning",
            "this is a Jetson, but /etc/nv_tegra_release tells no L4T",
            "whether this JetPack is one that nanoseg knows cannot be said",
            "docker run --runtime nvidia ..., which shows the file to a container"
            if facts.system.container
            else f"flash JetPack 6.2 or newer: {JETPACK_PAGE}",
        )


def _power(facts: Facts) -> Iterator[Finding]:
    power, board = facts.power, facts.board
    if power.mode is None:
        yield Finding(
            "power.unknown",
            "note",
            "the power mode is not known",
            "latencies measured here cannot be compared with others",
            "sudo nvpmodel -q",
        )
    elif power.fastest and power.mode != power.fastest:
        yield Finding(
            "power.capped",
            "note",
            f"the power mode is {power.mode}, not {power.fastest}",
            "clocks are capped: a frame takes longer than the board could do it",
            f"sudo nvpmodel -m {power.modes[power.fastest]}   # {power.fastest} on this board",
        )
    if (board.module or "").startswith("p3767") and power.modes and "MAXN_SUPER" not in power.modes and board.supported:
        yield Finding(
            "power.super",
            "note",
            "the board was flashed without its Super modes",
            "the GPU stays below 1020 MHz (Orin Nano) or 1173 MHz (Orin NX)",
            f"flash JetPack 6.2 or newer with the configuration that ends in -super: {JETPACK_PAGE}",
        )


def _memory(facts: Facts) -> Iterator[Finding]:
    memory = facts.memory
    if not memory.small:
        return
    if memory.swap_mb < ENOUGH_SWAP_MB:
        zram = any(swap.kind == "zram" for swap in memory.swaps)
        yield Finding(
            "memory.swap",
            "warning",
            "a small board without swap on a disk" + (": zram is a part of its memory" if zram else ""),
            "building engines may be killed for want of memory, which processor and GPU share",
            SWAP,
        )
    if memory.desktop:
        yield Finding(
            "memory.desktop",
            "note",
            "a desktop is running on a small board",
            "it takes about 0.8 GB that building engines could use",
            "sudo systemctl isolate multi-user.target   # back: graphical.target",
        )
