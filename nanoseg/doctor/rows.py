"""What was found, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.facts import Facts
from nanoseg.doctor.self_test import BundleTry, SelfTest


def machine_name(facts: Facts) -> str:
    """The board, or the system where nobody names one."""
    return facts.board.name or f"{facts.system.name}, {facts.system.architecture}"


def rows(facts: Facts, tried: SelfTest | None) -> Iterator[tuple[str, str]]:
    """Names and values in the order they are shown; those without a value do not belong to this machine."""
    board, nvidia, opencv, runtime = facts.board, facts.nvidia, facts.opencv, facts.onnxruntime
    yield "board", " ".join(each for each in (board.module, board.chip) if each) if board.jetson else ""
    yield "power mode", _power(facts) if board.jetson else ""
    package = board.jetpack_package
    brought = f", package nvidia-jetpack {package}" if package else ", package nvidia-jetpack not installed"
    yield "JetPack", board.system + brought if board.jetson else ""
    yield (
        "system",
        f"{facts.system.name}, Linux {facts.system.kernel}, {facts.system.architecture}"
        + (", in a container" if facts.system.container else ""),
    )
    kinds = [f"{each.kind} {each.version}" for each in facts.tensorrt if each.version]
    yield "TensorRT", ", ".join(kinds) or "none"
    for gpu in nvidia.gpus:
        memory = f"{gpu.memory_mb / 1024:.1f} GiB" if gpu.memory_mb else ""
        capability = f"compute capability {gpu.compute_capability}" if gpu.compute_capability else ""
        told = (gpu.name, capability, memory, "memory shared with the processor" if gpu.shared else "")
        yield "GPU", ", ".join(each for each in told if each)
    if not nvidia.gpus:
        yield "GPU", "none of NVIDIA's"
    versions = (
        f"up to {nvidia.cuda}" if nvidia.cuda else "",
        f"driver {nvidia.driver}" if nvidia.driver else "",
        f"toolkit {nvidia.toolkit}" if nvidia.toolkit else "",
    )
    yield "CUDA", ", ".join(each for each in versions if each) or "none"
    yield "memory", _memory(facts)
    if opencv.version:
        stream = f"with GStreamer {opencv.gstreamer}" if opencv.gstreamer else "without GStreamer"
        yield "OpenCV", f"{opencv.version} {stream}, {opencv.path}"
    else:
        yield "OpenCV", opencv.error or "none"
    if runtime.version:
        # Azure's provider is in every build, and runs nothing here.
        names = [name.removesuffix("ExecutionProvider") for name in runtime.providers if not name.startswith("Azure")]
        yield "ONNX Runtime", f"{runtime.version}: {', '.join(names)}"
    else:
        yield "ONNX Runtime", runtime.error or "none"
    for camera in facts.cameras.devices:
        yield "camera", f"{camera.device}  {camera.kind}  {camera.name}"
    if not facts.cameras.devices:
        yield "camera", "none"
    yield "Python", f"{facts.python.version}, {facts.python.executable}"
    yield "libraries", ", ".join(f"{name} {version}" for name, version in facts.libraries.items() if version)
    yield "bundle", f"{facts.bundle.name} {facts.bundle.version}" if facts.bundle.version else "damaged"
    yield "engines", _engines(facts)
    yield "runs on", ", ".join(facts.runs_on) or "nothing"
    yield "builds", ", ".join(facts.builds) or _builds_none(facts)
    if tried:
        yield "self-test", _bundle(tried.bundle)
        for line in _on_gpu(tried.bundle):
            yield "self-test", line
        for each in tried.int8_constants:
            answer = {True: "builds", False: "does not build", None: "could not be asked for"}[each.builds]
            yield "self-test", f"{each.module} {each.version} {answer} weights stored in INT8"


def _builds_none(facts: Facts) -> str:
    rtx = any(each.kind == "tensorrt-rtx" and each.supported for each in facts.tensorrt)
    return "no engines" + "; tensorrt-rtx with --dry-run tells whether graphs build" * rtx


def _power(facts: Facts) -> str:
    power = facts.power
    others = [name for name in power.modes if name != power.mode]
    return (power.mode or "not known") + (f" (others: {', '.join(others)})" if others else "")


def _memory(facts: Facts) -> str:
    memory = facts.memory
    if memory.total_mb is None:
        return "not known"
    free = "" if memory.available_mb is None else f", {memory.available_mb / 1024:.1f} GiB free"
    kinds: dict[str, int] = {}
    for swap in memory.swaps:
        kinds[swap.kind] = kinds.get(swap.kind, 0) + swap.size_mb
    swaps = ", ".join(f"{size_mb / 1024:.1f} GiB {kind}" for kind, size_mb in kinds.items())
    return f"{memory.total_mb / 1024:.1f} GiB{free}; swap: {swaps or 'none'}"


def _engines(facts: Facts) -> str:
    bundle = facts.bundle
    if bundle.engines_error:
        return f"not known: {bundle.engines_error}"
    if bundle.device is None:
        whys = [graph["why"] for graph in bundle.graphs.values()]
        return f"none valid here: {whys[0]}" if bundle.engines and whys else "none built"
    valid = sum(bool(graph["valid"]) for graph in bundle.graphs.values())
    return f"{valid} of {len(bundle.graphs)} valid for {bundle.device}"


def _bundle(bundle: BundleTry) -> str:
    if not bundle.ran:
        return "the embedded bundle does not run"
    return (
        f"{bundle.frame_ms} ms a frame on {bundle.device} ({bundle.backend}; loading {bundle.load_ms} ms, first frame "
        f"{bundle.first_ms} ms); {bundle.parts_found} of {bundle.parts} parts found"
    )


def _on_gpu(bundle: BundleTry) -> Iterator[str]:
    if bundle.mapped is not None:
        yield f"frames are {'read in pinned memory, where they lie' if bundle.mapped else 'copied to the GPU'}"
    by_reason: dict[str, list[str]] = {}
    for name, why in (bundle.not_captured or {}).items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        yield f"given to the GPU anew each time, not as a CUDA graph: {', '.join(names)}: {why}"
