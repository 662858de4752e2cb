"""Checks of OpenCV, ONNX Runtime, cameras, the optional libraries and the bundle."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.doctor.finding import Finding, Level
from nanoseg.doctor.gpu_checks import JETPACK, VENV
from nanoseg.doctor.libraries import EXTRAS
from nanoseg.doctor.state import CUDA_PROVIDER, MachineState
from nanoseg.models.training.loss import INSTALL

EFFECTS = {
    "video": "no video is read or written",
    "draw": "no annotated images and videos: neither `nanoseg demo` nor `run --out`",
    "track": "no identities over frames: `run --track`, and `track` in the service's configuration",
    "eval": "no mAP and mIoU, and no resizing by Pillow as for published results",
    "bench": "reports of latency have no page with plots",
    "bundle": "bundles cannot be made here",
    "export": "checkpoints cannot be exported here",
    "quantize": "quantization and training draw no plots",
    "train": "networks cannot be trained here",
}
# Its metadata wants numpy 2 and pip's OpenCV, which hides JetPack's; it runs with numpy 1.26 on what draw installs.
TRACK_ON_NUMPY_1 = 'pip install "nanoseg[draw]" "numpy<2" && pip install --no-deps "trackers>=2.6,<3"'
PC_EXTRAS = ("export", "quantize", "train")  # not needed on a Jetson, to which finished bundles are copied


def check_libraries(state: MachineState) -> Iterator[Finding]:
    """Yield findings about libraries, cameras and the bundle."""
    yield from _check_opencv(state)
    yield from _check_onnxruntime(state)
    yield from _check_cameras(state)
    for extra, effect in EFFECTS.items():
        missing = [name for name in EXTRAS[extra] if not state.libraries.get(name)]
        if missing and not (state.board.jetson and extra in PC_EXTRAS):
            verb = "is" if len(missing) == 1 else "are"
            problem = f"{', '.join(missing)} {verb} not installed"
            fix = f'pip install "nanoseg[{extra}]"' + (f" && {INSTALL}" if extra == "train" else "")
            if extra == "track" and state.board.jetson and (state.libraries.get("numpy") or "").startswith("1."):
                fix = TRACK_ON_NUMPY_1
            yield Finding(f"extra.{extra}", "note", problem, effect, fix)
    if state.bundle.error:
        effect, fix = "the embedded bundle does not run", "copy the checkout of nanoseg again"
        yield Finding("bundle.damaged", "error", state.bundle.error, effect, fix)


def _check_opencv(state: MachineState) -> Iterator[Finding]:
    opencv, jetson = state.opencv, state.board.jetson
    if opencv.version is None:
        problem = (
            f"OpenCV cannot be loaded: {opencv.error}" if opencv.error else "OpenCV is not installed for this Python"
        )
        yield Finding(
            "opencv.missing", "error", problem, "no bundle runs and no image can be read", _install_opencv(state)
        )
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
    effect = "streams are decoded by FFmpeg on the CPU" + (", and CSI cameras cannot be opened" if jetson else "")
    if opencv.shadows:
        yield Finding(
            "opencv.shadowed",
            "warning" if jetson else "note",
            f"pip's OpenCV, which has no GStreamer, hides the system's in {opencv.system}",
            effect,
            f"pip uninstall -y {' '.join(opencv.pip)}" + ("" if state.python.sees_system else f" && {VENV}"),
        )
    else:
        level: Level = "warning" if jetson else "note"
        problem = "OpenCV has no GStreamer"
        fix = _install_opencv(state) if jetson else "sudo apt install python3-opencv && " + VENV
        yield Finding("opencv.gstreamer", level, problem, effect, fix)


def _install_opencv(state: MachineState) -> str:
    error = (state.opencv.error or "").lower()
    if "numpy" in error or "multiarray" in error:
        return 'pip install "numpy<2"   # this OpenCV was built for numpy 1'
    if "libgl" in error:
        return "sudo apt install libgl1 libglib2.0-0"
    if not state.board.jetson:
        return 'pip install "nanoseg[opencv]"'
    if state.opencv.system:
        return VENV
    return "sudo apt install python3-opencv" if state.board.jetpack_package else JETPACK


def _check_onnxruntime(state: MachineState) -> Iterator[Finding]:
    runtime, has_engines = state.onnxruntime, "tensorrt" in state.runs_on
    if len(runtime.pip) > 1:
        yield Finding(
            "onnxruntime.twice",
            "warning",
            "onnxruntime and onnxruntime-gpu are both installed, as one module: each overwrites the other's files",
            "it runs on the CPU only, or not at all",
            'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "nanoseg[gpu]"',
        )
    if runtime.version is None:
        reason = f" cannot be loaded: {runtime.error}" if runtime.error else " is not installed"
        fix = 'pip install "nanoseg[cpu]"'
        if runtime.error:  # without nanoseg's extra, as pip would look for nanoseg itself on an index
            fix = f"pip install --force-reinstall --no-deps {runtime.pip[-1] if runtime.pip else 'onnxruntime'}"
        problem, effect = f"ONNX Runtime{reason}", "no bundle runs"
        if has_engines:
            effect = "only bundles with valid engines run, and none while its engines are rebuilt"
        elif state.builds:
            effect += " without engines of its own"
        yield Finding("onnxruntime.missing", "note" if has_engines else "error", problem, effect, fix)
        return
    if state.reduced and not state.libraries.get("onnx"):
        problem = f"onnx is not installed, but the bundle {state.bundle.name} has graphs in INT8 or FP16: "
        effect = "ONNX Runtime needs onnx to convert them to float32"
        fix = f'pip install "nanoseg[{"gpu" if "onnxruntime-gpu" in runtime.pip else "cpu"}]"'
        level: Level = "note" if has_engines else "error"
        yield Finding("onnxruntime.onnx", level, problem + ", ".join(state.reduced), effect, fix)
    idle = not has_engines and CUDA_PROVIDER not in runtime.providers
    if state.nvidia.cuda_error is None and not state.board.jetson and idle:
        yield Finding(
            "onnxruntime.cpu",
            "note",
            "ONNX Runtime has no CUDA provider, but there is a GPU",
            "the GPU is not used",
            'pip uninstall -y onnxruntime && pip install "nanoseg[gpu]"',
        )


def _check_cameras(state: MachineState) -> Iterator[Finding]:
    cameras, jetson = state.cameras.devices, state.board.jetson
    if not cameras:
        if state.system.container:
            fix = "docker run --device /dev/video0 ..."
        else:
            fix = "sudo /opt/nvidia/jetson-io/jetson-io.py   # for CSI" if jetson else "plug one in"
        effect = "images, videos and the simulated line are the only sources"
        yield Finding("camera.none", "note", "no camera is connected", effect, fix)
    if closed := [camera.device for camera in cameras if not camera.readable]:
        problem, effect = f"{', '.join(closed)} cannot be opened by this user", "they cannot be used as sources"
        yield Finding("camera.access", "warning", problem, effect, "sudo usermod -aG video $USER   # then log in again")
    if state.cameras.argus is False and any(camera.kind == "csi" for camera in cameras):
        problem, fix = "nvargus-daemon is not running", "sudo systemctl restart nvargus-daemon"
        yield Finding("camera.argus", "warning", problem, "CSI cameras cannot be opened", fix)
