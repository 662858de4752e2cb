"""The state of a machine as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanoseg.backends.tensorrt.pipeline.settings import WAIT
from nanoseg.doctor.self_test import BundleTest, SelfTest
from nanoseg.doctor.state import MachineState
from nanoseg.doctor.v4l2_modes import Mode


def machine_name(state: MachineState) -> str:
    """Return the name of the board, or of the system where the board has none."""
    return state.board.name or f"{state.system.name}, {state.system.architecture}"


def table_rows(state: MachineState, test: SelfTest | None) -> Iterator[tuple[str, str]]:
    """Yield names and values in their order; rows with an empty value do not apply to this machine."""
    board, nvidia, opencv, runtime = state.board, state.nvidia, state.opencv, state.onnxruntime
    yield "board", " ".join(each for each in (board.module, board.chip) if each) if board.jetson else ""
    yield "power mode", _power(state) if board.jetson else ""
    package = board.jetpack_package
    packaged = f", package nvidia-jetpack {package}" if package else ", package nvidia-jetpack not installed"
    yield "JetPack", board.system + packaged if board.jetson else ""
    yield (
        "system",
        f"{state.system.name}, Linux {state.system.kernel}, {state.system.architecture}"
        + (", in a container" if state.system.container else ""),
    )
    kinds = [f"{each.kind} {each.version}" for each in state.tensorrt if each.version]
    yield "TensorRT", ", ".join(kinds) or "none"
    for gpu in nvidia.gpus:
        memory = f"{gpu.memory_mb / 1024:.1f} GiB" if gpu.memory_mb else ""
        capability = f"compute capability {gpu.compute_capability}" if gpu.compute_capability else ""
        parts = (gpu.name, capability, memory, "memory shared with the CPU" if gpu.shared else "")
        yield "GPU", ", ".join(each for each in parts if each)
    if not nvidia.gpus:
        yield "GPU", "no NVIDIA GPU"
    versions = (
        f"up to {nvidia.cuda}" if nvidia.cuda else "",
        f"driver {nvidia.driver}" if nvidia.driver else "",
        f"toolkit {nvidia.toolkit}" if nvidia.toolkit else "",
    )
    yield "CUDA", ", ".join(each for each in versions if each) or "none"
    yield "memory", _memory(state)
    if opencv.version:
        stream = f"with GStreamer {opencv.gstreamer}" if opencv.gstreamer else "without GStreamer"
        yield "OpenCV", f"{opencv.version} {stream}, {opencv.path}"
    else:
        yield "OpenCV", opencv.error or "none"
    if runtime.version:
        # Azure's provider is in every build and runs nothing locally.
        names = [name.removesuffix("ExecutionProvider") for name in runtime.providers if not name.startswith("Azure")]
        yield "ONNX Runtime", f"{runtime.version}: {', '.join(names)}"
    else:
        yield "ONNX Runtime", runtime.error or "none"
    for camera in state.cameras.devices:
        users = f", open in {', '.join(camera.users)}" if camera.users else ""
        yield "camera", f"{camera.device}  {camera.kind}  {camera.name}, read by {camera.read_by}{users}"
        for line in _modes(camera.modes):
            yield "", line
    if not state.cameras.devices:
        yield "camera", "none"
    yield "Python", f"{state.python.version}, {state.python.executable}"
    yield "libraries", ", ".join(f"{name} {version}" for name, version in state.libraries.items() if version)
    yield "bundle", f"{state.bundle.name} {state.bundle.version}" if state.bundle.version else "damaged"
    yield "engines", _engines(state)
    yield "runs on", ", ".join(state.runs_on) or "nothing"
    yield "builds", ", ".join(state.builds) or _builds_none(state)
    if test:
        yield "self-test", _bundle(test.bundle)
        for line in _gpu_lines(test.bundle):
            yield "self-test", line
        for each in test.int8_constants:
            result = {True: "builds", False: "does not build", None: "could not be tested for"}[each.builds]
            yield "self-test", f"{each.module} {each.version} {result} weights stored in INT8"


def _modes(modes: Sequence[Mode]) -> Iterator[str]:
    """Yield a line for each format: `MJPG  1920x1080 30, 1280x720 60/30 frames/s`."""
    for form in dict.fromkeys(mode.format for mode in modes):
        sizes = [
            f"{mode.width}x{mode.height} {'/'.join(f'{rate:g}' for rate in mode.fps)}".rstrip()
            for mode in modes
            if mode.format == form
        ]
        yield f"{form}  {', '.join(sizes)} frames/s"


def _builds_none(state: MachineState) -> str:
    rtx = any(each.kind == "tensorrt-rtx" and each.supported for each in state.tensorrt)
    return "no engines" + "; tensorrt-rtx can check graphs with --dry-run" * rtx


def _power(state: MachineState) -> str:
    power = state.power
    others = [name for name in power.modes if name != power.mode]
    return (power.mode or "not known") + (f" (others: {', '.join(others)})" if others else "")


def _memory(state: MachineState) -> str:
    memory = state.memory
    if memory.total_mb is None:
        return "not known"
    free = "" if memory.available_mb is None else f", {memory.available_mb / 1024:.1f} GiB free"
    kinds: dict[str, int] = {}
    for swap in memory.swaps:
        kinds[swap.kind] = kinds.get(swap.kind, 0) + swap.size_mb
    swaps = ", ".join(f"{size_mb / 1024:.1f} GiB {kind}" for kind, size_mb in kinds.items())
    return f"{memory.total_mb / 1024:.1f} GiB{free}; swap: {swaps or 'none'}"


def _engines(state: MachineState) -> str:
    bundle = state.bundle
    if bundle.engines_error:
        return f"not known: {bundle.engines_error}"
    if bundle.device is None:
        reasons = [graph["why"] for graph in bundle.graphs.values()]
        return f"none valid here: {reasons[0]}" if bundle.engines and reasons else "none built"
    valid = sum(bool(graph["valid"]) for graph in bundle.graphs.values())
    return f"{valid} of {len(bundle.graphs)} valid for {bundle.device}"


def _bundle(bundle: BundleTest) -> str:
    if not bundle.ran:
        return "the embedded bundle does not run"
    return (
        f"{bundle.frame_ms} ms per frame on {bundle.device} ({bundle.backend}; loading {bundle.load_ms} ms, first "
        f"frame {bundle.first_ms} ms); {bundle.parts_found} of {bundle.parts} parts found"
    )


def _gpu_lines(bundle: BundleTest) -> Iterator[str]:
    if bundle.mapped is not None:
        yield f"frames are {'read in pinned memory' if bundle.mapped else 'copied to the GPU'}"
    if bundle.waits:
        ways = (f"{way} {each['frame_ms']} ms, {each['cpu_ms']} ms of CPU" for way, each in bundle.waits.items())
        yield f"a frame by the way of waiting: {'; '.join(ways)}; best {WAIT}={bundle.best_wait}"
    by_reason: dict[str, list[str]] = {}
    for name, reason in (bundle.not_captured or {}).items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        yield f"not captured as a CUDA graph: {', '.join(names)}: {reason}"
