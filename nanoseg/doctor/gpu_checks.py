"""What to mend about the GPU: driver, CUDA, TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.facts import RTX_CAPABILITIES, Facts
from nanoseg.doctor.finding import Finding
from nanoseg.utils.versions import version_tuple

VENV = "python3 -m venv --system-site-packages .venv   # with the system's python3; then install nanoseg in it"
JETPACK = "sudo apt update && sudo apt install nvidia-jetpack"


def gpu_findings(facts: Facts) -> Iterator[Finding]:
    """Nothing where there is no GPU of NVIDIA's."""
    nvidia = facts.nvidia
    if not nvidia.gpus:
        if nvidia.card:
            yield Finding(
                "gpu.driver",
                "warning",
                "there is a GPU of NVIDIA's, but no driver that answers",
                "the GPU stays idle: what runs, runs on the CPU",
                "sudo ubuntu-drivers install   # elsewhere: https://www.nvidia.com/drivers",
            )
        return
    if nvidia.cuda_error:
        yield Finding(
            "cuda.start",
            "warning",
            f"CUDA does not start: {nvidia.cuda_error}",
            "the GPU stays idle: what runs, runs on the CPU",
            _start_cuda(facts),
        )
    if facts.board.supported is False:  # said once, of JetPack
        return
    yield from _tensorrt(facts)
    yield from _bindings(facts)


def _start_cuda(facts: Facts) -> str:
    if facts.system.container:
        return "docker run --runtime nvidia ..." if facts.board.jetson else "docker run --gpus all ..."
    if facts.board.jetson:
        return "sudo usermod -aG video,render $USER   # then log in again"
    return "nvidia-smi   # says why; after an update of the driver: sudo reboot"


def _tensorrt(facts: Facts) -> Iterator[Finding]:
    for each in facts.tensorrt:
        if each.error:
            yield Finding(
                f"{each.kind}.broken",
                "warning",
                f"{each.module} is installed but cannot be loaded: {each.error}",
                "it builds and runs no engines",
                _install_tensorrt(facts),
            )
        elif each.version and not each.supported:
            yield Finding(
                f"{each.kind}.old",
                "warning",
                f"{each.module} {each.version} is too old: nanoseg wants 10.3 or newer",
                "it builds and runs no engines",
                _install_tensorrt(facts),
            )
    if facts.builds or any(each.error for each in facts.tensorrt):
        return
    kinds = {each.kind for each in facts.tensorrt if each.supported}
    also = {
        "tensorrt-rtx": "TensorRT for RTX, which does not know this GPU",
        "tensorrt-lean": "the lean runtime, which builds nothing",
    }
    only = ", ".join(text for kind, text in also.items() if kind in kinds)
    what = "TensorRT is not there for this Python" + (f"; there is only {only}" if only else "")
    if "tensorrt" in facts.runs_on:  # the lean runtime, with engines that were built elsewhere
        costs = "no engines are built here: only those that are there run"
        yield Finding("tensorrt.missing", "note", what, costs, _install_tensorrt(facts))
        return
    costs = "no engines are built: the GPU is used by ONNX Runtime at best, or stays idle"
    yield Finding("tensorrt.missing", "warning", what, costs, _install_tensorrt(facts))


def _install_tensorrt(facts: Facts) -> str:
    if facts.board.jetson:
        return VENV if "python3-libnvinfer" in facts.packages else JETPACK
    known = any(gpu.compute_capability in RTX_CAPABILITIES for gpu in facts.nvidia.gpus)
    return "pip install --upgrade tensorrt-rtx-cu12" if known else "pip install --upgrade tensorrt"


def _bindings(facts: Facts) -> Iterator[Finding]:
    bindings = facts.libraries.get("cuda-bindings")
    cuda = facts.nvidia.cuda or ("12" if (facts.board.l4t or "").startswith("36") else "13")
    mend = f'pip install "nanoseg[cuda{13 if version_tuple(cuda) >= (13,) else 12}]"'
    if bindings and facts.nvidia.cuda and version_tuple(bindings)[:1] > version_tuple(cuda)[:1]:
        yield Finding(
            "cuda.bindings.newer",
            "warning",
            f"cuda-bindings {bindings} is for a newer CUDA than the driver's {facts.nvidia.cuda}",
            "this GPU is not known by it: no engines are built for it, or found",
            mend,
        )
    elif not bindings and facts.libraries.get("pycuda"):
        what, costs = (
            "cuda-bindings is not installed, only pycuda",
            "engines run without CUDA graphs, which takes longer",
        )
        yield Finding("cuda.bindings.missing", "note", what, costs, mend)
    elif not bindings:
        what = "cuda-bindings is not installed"
        costs = "this GPU is not known: no engines are built for it, or found"
        yield Finding("cuda.bindings.missing", "warning", what, costs, mend)
