"""What to mend about OpenCV, ONNX Runtime, cameras and the optional libraries."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.facts import CUDA_PROVIDER, Facts
from nanoseg.doctor.finding import Finding, Level
from nanoseg.doctor.gpu_checks import JETPACK, VENV
from nanoseg.doctor.libraries import EXTRAS

COSTS = {
    "draw": "no annotated pictures and videos: neither `nanoseg demo` nor `run --out`",
    "eval": "no mAP and no mIoU; no Pillow's resizing, which published figures used",
    "bundle": "no bundles are made here",
    "export": "no checkpoints become ONNX files here",
    "quantize": "quantizing and training draw no plots here",
    "train": "no networks are trained here",
}
ON_A_PC = ("export", "quantize", "train")  # for a PC: bundles are carried to a Jetson ready made


def library_findings(facts: Facts) -> Iterator[Finding]:
    """OpenCV and ONNX Runtime first: without them nothing runs."""
    yield from _opencv(facts)
    yield from _onnxruntime(facts)
    yield from _cameras(facts)
    for extra, costs in COSTS.items():
        missing = [name for name in EXTRAS[extra] if not facts.libraries.get(name)]
        if missing and not (facts.board.jetson and extra in ON_A_PC):
            verb = "is" if len(missing) == 1 else "are"
            what = f"{', '.join(missing)} {verb} not installed"
            yield Finding(f"extra.{extra}", "note", what, costs, f'pip install "nanoseg[{extra}]"')
    if facts.bundle.error:
        costs, mend = "the embedded bundle does not run", "copy the checkout of nanoseg again"
        yield Finding("bundle.damaged", "error", facts.bundle.error, costs, mend)


def _opencv(facts: Facts) -> Iterator[Finding]:
    opencv, jetson = facts.opencv, facts.board.jetson
    if opencv.version is None:
        what = f"OpenCV cannot be loaded: {opencv.error}" if opencv.error else "OpenCV is not there for this Python"
        yield Finding("opencv.missing", "error", what, "no bundle runs and no picture is read", _install_opencv(facts))
        return
    if len(opencv.pip) > 1:
        yield Finding(
            "opencv.twice",
            "warning",
            f"{' and '.join(opencv.pip)} are both installed, as one module: each overwrites the other's files",
            "it breaks when one of them is updated or removed",
            f"pip uninstall -y {' '.join(opencv.pip)} && pip install opencv-python",
        )
    if opencv.gstreamer:
        return
    costs = "streams are decoded by FFmpeg on the CPU" + (", and CSI cameras cannot be opened" if jetson else "")
    if opencv.shadows:
        yield Finding(
            "opencv.shadowed",
            "warning" if jetson else "note",
            f"pip's OpenCV, without GStreamer, shadows the system's in {opencv.system}",
            costs,
            f"pip uninstall -y {' '.join(opencv.pip)}" + ("" if facts.python.sees_system else f" && {VENV}"),
        )
    else:
        level: Level = "warning" if jetson else "note"
        what = "OpenCV is without GStreamer"
        mend = _install_opencv(facts) if jetson else "sudo apt install python3-opencv && " + VENV
        yield Finding("opencv.gstreamer", level, what, costs, mend)


def _install_opencv(facts: Facts) -> str:
    error = (facts.opencv.error or "").lower()
    if "numpy" in error or "multiarray" in error:
        return 'pip install "numpy<2"   # this OpenCV was built for numpy 1'
    if "libgl" in error:
        return "sudo apt install libgl1 libglib2.0-0"
    if not facts.board.jetson:
        return 'pip install "nanoseg[opencv]"'
    if facts.opencv.system:
        return VENV
    return "sudo apt install python3-opencv" if facts.board.jetpack_package else JETPACK


def _onnxruntime(facts: Facts) -> Iterator[Finding]:
    runtime, on_engines = facts.onnxruntime, "tensorrt" in facts.runs_on
    if len(runtime.pip) > 1:
        yield Finding(
            "onnxruntime.twice",
            "warning",
            "onnxruntime and onnxruntime-gpu are both installed, as one module: each overwrites the other's files",
            "it runs on the CPU only, or not at all",
            'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "nanoseg[gpu]"',
        )
    if runtime.version is None:
        why = f" cannot be loaded: {runtime.error}" if runtime.error else " is not installed"
        mend = 'pip install "nanoseg[cpu]"'
        if runtime.error:  # alone, as pip would look for nanoseg itself on an index
            mend = f"pip install --force-reinstall --no-deps {runtime.pip[-1] if runtime.pip else 'onnxruntime'}"
        what, costs = f"ONNX Runtime{why}", "no bundle runs"
        if on_engines:
            costs = "only bundles run that have valid engines: none does while its engines are built anew"
        elif facts.builds:
            costs += " without engines of its own"
        yield Finding("onnxruntime.missing", "note" if on_engines else "error", what, costs, mend)
        return
    if facts.reduced and not facts.libraries.get("onnx"):
        what = f"onnx is not installed, and the bundle {facts.bundle.name} has graphs in INT8 or FP16: "
        costs = "ONNX Runtime runs them only once onnx has turned them into float32"
        mend = f'pip install "nanoseg[{"gpu" if "onnxruntime-gpu" in runtime.pip else "cpu"}]"'
        level: Level = "note" if on_engines else "error"
        yield Finding("onnxruntime.onnx", level, what + ", ".join(facts.reduced), costs, mend)
    idle = not on_engines and CUDA_PROVIDER not in runtime.providers
    if facts.nvidia.cuda_error is None and not facts.board.jetson and idle:
        yield Finding(
            "onnxruntime.cpu",
            "note",
            "ONNX Runtime is the CPU's, and there is a GPU",
            "the GPU stays idle",
            'pip uninstall -y onnxruntime && pip install "nanoseg[gpu]"',
        )


def _cameras(facts: Facts) -> Iterator[Finding]:
    cameras, jetson = facts.cameras.devices, facts.board.jetson
    if not cameras:
        if facts.system.container:
            mend = "docker run --device /dev/video0 ..."
        else:
            mend = "sudo /opt/nvidia/jetson-io/jetson-io.py   # for CSI" if jetson else "plug one in"
        costs = "pictures, videos and the simulated line are the only sources"
        yield Finding("camera.none", "note", "no camera is seen", costs, mend)
    if closed := [camera.device for camera in cameras if not camera.readable]:
        what, costs = f"{', '.join(closed)} cannot be opened by this user", "no pictures come from there"
        yield Finding("camera.access", "warning", what, costs, "sudo usermod -aG video $USER   # then log in again")
    if facts.cameras.argus is False and any(camera.kind == "csi" for camera in cameras):
        what, mend = "nvargus-daemon does not answer", "sudo systemctl restart nvargus-daemon"
        yield Finding("camera.argus", "warning", what, "CSI cameras cannot be opened", mend)
