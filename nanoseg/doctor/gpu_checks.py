"""Checks of the GPU: its driver, CUDA, TensorRT, cuda-bindings."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.finding import Finding
from nanoseg.doctor.state import RTX_CAPABILITIES, MachineState
from nanoseg.utils.versions import version_tuple

VENV = "python3 -m venv --system-site-packages .venv   # with the system's python3; then install nanoseg in it"
JETPACK = "sudo apt update && sudo apt install nvidia-jetpack"
GPU_IDLE = "the GPU is not used; ONNX Runtime runs on the CPU"


def check_gpu(state: MachineState) -> Iterator[Finding]:
    """Yield findings about an NVIDIA GPU and its libraries; none where there is no such GPU."""
    nvidia = state.nvidia
    if not nvidia.gpus:
        if nvidia.card:
            yield Finding(
                "gpu.driver",
                "warning",
                "there is an NVIDIA GPU, but no working driver",
                GPU_IDLE,
                "sudo ubuntu-drivers install   # elsewhere: https://www.nvidia.com/drivers",
            )
        return
    if nvidia.cuda_error:
        yield Finding("cuda.start", "warning", f"CUDA does not start: {nvidia.cuda_error}", GPU_IDLE, _fix_cuda(state))
    if state.board.supported is False:  # the finding about JetPack covers the rest
        return
    yield from _check_tensorrt(state)
    yield from _check_bindings(state)


def _fix_cuda(state: MachineState) -> str:
    if state.system.container:
        return "docker run --runtime nvidia ..." if state.board.jetson else "docker run --gpus all ..."
    if state.board.jetson:
        return "sudo usermod -aG video,render $USER   # then log in again"
    return "nvidia-smi   # prints the reason; after an update of the driver: sudo reboot"


def _check_tensorrt(state: MachineState) -> Iterator[Finding]:
    for each in state.tensorrt:
        if each.error:
            yield Finding(
                f"{each.kind}.broken",
                "warning",
                f"{each.module} is installed but cannot be loaded: {each.error}",
                "it builds and runs no engines",
                _install_tensorrt(state),
            )
        elif each.version and not each.supported:
            yield Finding(
                f"{each.kind}.old",
                "warning",
                f"{each.module} {each.version} is too old: nanoseg needs 10.3 or newer",
                "it builds and runs no engines",
                _install_tensorrt(state),
            )
    if state.builds or any(each.error for each in state.tensorrt):
        return
    kinds = {each.kind for each in state.tensorrt if each.supported}
    insufficient = {
        "tensorrt-rtx": "TensorRT for RTX, which does not support this GPU",
        "tensorrt-lean": "the lean runtime, which has no builder",
    }
    found = ", ".join(text for kind, text in insufficient.items() if kind in kinds)
    problem = "TensorRT is not installed for this Python" + (f"; there is only {found}" if found else "")
    if "tensorrt" in state.runs_on:  # the lean runtime, with engines that were built elsewhere
        effect = "no engines can be built here; existing ones run"
        yield Finding("tensorrt.missing", "note", problem, effect, _install_tensorrt(state))
        return
    effect = "no engines can be built: the GPU runs ONNX Runtime at best"
    yield Finding("tensorrt.missing", "warning", problem, effect, _install_tensorrt(state))


def _install_tensorrt(state: MachineState) -> str:
    if state.board.jetson:
        return VENV if "python3-libnvinfer" in state.packages else JETPACK
    rtx = any(gpu.compute_capability in RTX_CAPABILITIES for gpu in state.nvidia.gpus)
    return "pip install --upgrade tensorrt-rtx-cu12" if rtx else "pip install --upgrade tensorrt"


def _check_bindings(state: MachineState) -> Iterator[Finding]:
    bindings = state.libraries.get("cuda-bindings")
    cuda = state.nvidia.cuda or ("12" if (state.board.l4t or "").startswith("36") else "13")
    fix = f'pip install "nanoseg[cuda{13 if version_tuple(cuda) >= (13,) else 12}]"'
    no_engines = "no engines are found or built for this GPU"
    if bindings and state.nvidia.cuda and version_tuple(bindings)[:1] > version_tuple(cuda)[:1]:
        problem = f"cuda-bindings {bindings} is for a newer CUDA than the driver's {state.nvidia.cuda}"
        yield Finding("cuda.bindings.newer", "warning", problem, no_engines, fix)
    elif not bindings and state.libraries.get("pycuda"):
        problem = "cuda-bindings is not installed, only pycuda"
        yield Finding("cuda.bindings.missing", "note", problem, "engines run slower, without CUDA graphs", fix)
    elif not bindings:
        yield Finding("cuda.bindings.missing", "warning", "cuda-bindings is not installed", no_engines, fix)
