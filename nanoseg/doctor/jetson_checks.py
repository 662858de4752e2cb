"""Checks of a Jetson: JetPack, power mode, memory."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.finding import Finding
from nanoseg.doctor.state import MachineState

JETPACK_PAGE = "https://developer.nvidia.com/embedded/jetpack"
ENOUGH_SWAP_MB = 4000
SWAP = (
    "sudo systemctl disable nvzramconfig; sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && "
    "sudo mkswap /swapfile && sudo swapon /swapfile"
)


def check_jetson(state: MachineState) -> Iterator[Finding]:
    """Yield findings about a Jetson; none elsewhere."""
    if state.board.jetson:
        yield from _check_jetpack(state)
        yield from _check_power(state)
        yield from _check_memory(state)


def _check_jetpack(state: MachineState) -> Iterator[Finding]:
    board = state.board
    if board.supported is False:
        flash = f"flash JetPack 6.2 or newer: {JETPACK_PAGE}"
        yield Finding(
            "jetpack.unsupported",
            "error",
            f"{board.system} is not supported: it has TensorRT 8 at most, nanoseg needs 10.3 or newer",
            "no engine is built or run here; ONNX Runtime runs on the CPU",
            "an Orin or a Thor: JetPack 6 is not made for this board"
            if board.chip not in ("tegra234", None)
            else flash,
        )
    elif board.l4t is None:
        yield Finding(
            "jetpack.unknown",
            "warning",
            "this is a Jetson, but /etc/nv_tegra_release has no version of L4T",
            "this JetPack may be unsupported",
            "docker run --runtime nvidia ..., which makes the file visible in a container"
            if state.system.container
            else f"flash JetPack 6.2 or newer: {JETPACK_PAGE}",
        )


def _check_power(state: MachineState) -> Iterator[Finding]:
    power, board = state.power, state.board
    if power.mode is None:
        yield Finding(
            "power.unknown",
            "note",
            "the power mode is not known",
            "latencies measured here cannot be compared",
            "sudo nvpmodel -q",
        )
    elif power.fastest and power.mode != power.fastest:
        yield Finding(
            "power.capped",
            "note",
            f"the power mode is {power.mode}, not {power.fastest}",
            "clocks are limited: a frame takes longer than necessary",
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


def _check_memory(state: MachineState) -> Iterator[Finding]:
    memory = state.memory
    if not memory.small:
        return
    if memory.swap_mb < ENOUGH_SWAP_MB:
        zram = any(swap.kind == "zram" for swap in memory.swaps)
        yield Finding(
            "memory.swap",
            "warning",
            "8 GB of memory or less, and no swap on a disk" + (": zram is part of the memory" if zram else ""),
            "nanoseg build may run out of memory, which CPU and GPU share",
            SWAP,
        )
    if memory.desktop:
        yield Finding(
            "memory.desktop",
            "note",
            "a desktop is running on a board with 8 GB of memory or less",
            "it uses about 0.8 GB that nanoseg build could use",
            "sudo systemctl isolate multi-user.target   # back: graphical.target",
        )
