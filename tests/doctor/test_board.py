"""The doctor's readers, on copies of real boards' files and on damaged ones."""

import dataclasses
import os
import shutil

import pytest

from nanoseg.doctor import state
from nanoseg.doctor.board import read_board, read_l4t
from nanoseg.doctor.cameras import Camera, read_cameras
from nanoseg.doctor.gpu import GpuInfo, read_nvidia
from nanoseg.doctor.machine import CommandResult
from nanoseg.doctor.opencv import read_opencv
from nanoseg.doctor.packages import read_packages, upstream
from nanoseg.doctor.power import read_power
from nanoseg.doctor.system import Swap, read_memory, read_python, read_system
from tests.fakes.boards import BOARDS, BUILT_WITH, ORIN_STARTS, board

NAMES = sorted(path.name for path in BOARDS.iterdir() if path.is_dir())
SUPER = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"


def nvidia(machine):
    return read_nvidia(machine, read_board(machine, {}))


@pytest.mark.parametrize(
    ("name", "model", "chip", "module", "is_super", "system", "package", "supported"),
    [
        ("orin-nano-super", SUPER, "tegra234", "p3767-0005", True, "JetPack 6.2 (L4T 36.4.3)", "6.2", True),
        ("orin-nano-iso", SUPER, "tegra234", "p3767-0005", True, "JetPack 7.2.1 (L4T 39.2.1)", None, True),
        (
            "agx-thor",
            "NVIDIA Jetson AGX Thor Developer Kit",
            *("tegra264", "p3834-0008", False, "JetPack 7.0 (L4T 38.2.0)", "7.0", True),
        ),
        (
            "agx-orin-jetpack-6.0",
            "NVIDIA Jetson AGX Orin Developer Kit",
            *("tegra234", "p3701-0005", False, "JetPack 6.0 (L4T 36.3.0)", "6.0", False),
        ),
        (
            "xavier-nx-jetpack-5",
            "NVIDIA Jetson Xavier NX Developer Kit",
            *("tegra194", "p3668-0001", False, "JetPack 5.1.2 (L4T 35.4.1)", None, False),
        ),
        ("desktop", "Micro-Star International Co., Ltd. MS-7C97", None, None, False, "L4T not known", None, None),
    ],
)
def test_read_board(name, model, chip, module, is_super, system, package, supported):
    machine = board(name)
    found = read_board(machine, read_packages(machine))
    assert (found.name, found.chip, found.module, found.super) == (model, chip, module, is_super)
    assert (found.system, found.jetpack_package, found.supported) == (system, package, supported)
    assert found.jetson == (name != "desktop")


@pytest.mark.parametrize(
    ("text", "packages", "l4t", "system", "supported"),
    [
        ("# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic", {}, "36.4.7", "JetPack 6.2.1", True),
        ("# R36 (release), REVISION: 5.0, GCID: 1", {}, "36.5.0", "JetPack 6.2.2", True),
        ("# R38 (release), REVISION: 4.0, GCID: 1", {}, "38.4.0", "JetPack 7.1", True),
        ("# R39 (release), REVISION: 9.0, GCID: 1", {}, "39.9.0", "L4T 39.9.0", True),
        ("# R36 (release), REVISION: 2.0, GCID: 1", {}, "36.2.0", "JetPack 6.0 DP", False),
        ("# R32 (release), REVISION: 7.1, GCID: 1", {}, "32.7.1", "L4T 32.7.1", False),
        ("", {"nvidia-l4t-core": "36.4.7-20250918154033"}, "36.4.7", "JetPack 6.2.1", True),
        ("# REVISION: 4.7, without a release", {}, None, "L4T not known", None),
    ],
)
def test_read_board_l4t_and_jetpack(tmp_path, text, packages, l4t, system, supported):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text(text)
    machine = board(tmp_path)
    assert read_l4t(machine, packages) == l4t
    found = read_board(machine, packages)
    assert found.system.startswith(system)
    assert found.supported is supported


def test_read_packages_lists_installed_ones():
    assert read_packages(board("orin-nano-super")) == {
        "nvidia-l4t-core": "36.4.3-20250107174145",
        "nvidia-jetpack": "6.2+b77",
        "libopencv-python": "4.8.0-1-g6371ee1",
        "libnvinfer10": "10.3.0.30-1+cuda12.5",
        "libnvinfer-lean10": "10.3.0.30-1+cuda12.5",
        "python3-libnvinfer": "10.3.0.30-1+cuda12.5",
        "python3-libnvinfer-lean": "10.3.0.30-1+cuda12.5",
    }
    assert [upstream(each) for each in ("6.2.1+b38", "7.2-b187", "1:10.3.0.30-1+cuda12.5", "4.8")] == [
        *("6.2.1", "7.2", "10.3.0.30", "4.8")
    ]


@pytest.mark.parametrize(
    ("name", "commands", "mode", "source", "fastest"),
    [
        ("orin-nano-super", None, "15W", "nvpmodel", "MAXN_SUPER"),
        ("orin-nano-super", {"nvpmodel": CommandResult("", "hangs")}, "15W", "/var/lib/nvpmodel/status", "MAXN_SUPER"),
        (
            "orin-nano-super",
            {"nvpmodel": CommandResult("NV Power Mode: MAXN_SUPER\n2\n")},
            "MAXN_SUPER",
            "nvpmodel",
            None,
        ),
        ("orin-nano-iso", None, "25W", "default of /etc/nvpmodel.conf", "MAXN_SUPER"),
        ("agx-thor", None, "120W", "/var/lib/nvpmodel/status", "MAXN"),
        ("agx-orin-jetpack-6.0", None, "MODE_30W", "default of /etc/nvpmodel.conf", "MAXN"),
        ("xavier-nx-jetpack-5", None, "MODE_15W_6CORE", "nvpmodel", None),
        ("desktop", None, None, None, None),
    ],
)
def test_read_power_mode_by_name(name, commands, mode, source, fastest):
    power = read_power(board(name, commands=commands))
    assert (power.mode, power.source) == (mode, source)
    assert power.fastest == (fastest or ("MAXN_SUPER" if mode == "MAXN_SUPER" else None))


@pytest.mark.parametrize(("ids", "mode"), [({"15W": 0, "MAXN": 3}, "MAXN"), ({"MAXN": 0, "15W": 3}, "15W")])
def test_read_power_maps_numbers_by_the_boards_configuration(tmp_path, ids, mode):
    (tmp_path / "etc").mkdir()
    (tmp_path / "var/lib/nvpmodel").mkdir(parents=True)
    text = "".join(f"< POWER_MODEL ID={number} NAME={name} >\nGPU MAX_FREQ -1\n" for name, number in ids.items())
    (tmp_path / "etc/nvpmodel.conf").write_text(text)
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0003 fmode:quiet")
    assert read_power(board(tmp_path)).mode == mode
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0007")  # a mode that the board does not have
    assert read_power(board(tmp_path)).mode is None


@pytest.mark.parametrize(
    ("name", "children", "gpu", "driver", "cuda", "toolkit"),
    [
        ("orin-nano-super", {}, GpuInfo("Orin (nvgpu)", "8.7", None, True), "540.4.0", "12.6", "12.6.11"),
        (
            "orin-nano-super",
            {"nanoseg.backends.probe cuda": ORIN_STARTS},
            *(GpuInfo("Orin", "8.7", 7619, True), "540.4.0", "12.6", "12.6.11"),
        ),
        ("orin-nano-iso", {}, GpuInfo("Orin", "8.7", None, True), "595.78", "13.2", None),
        ("agx-thor", {}, GpuInfo("NVIDIA Thor", "11.0", None, True), "580.00", "13.0", None),
        ("agx-orin-jetpack-6.0", {}, GpuInfo("Orin (nvgpu)", "8.7", None, True), None, "12.2", None),
        ("xavier-nx-jetpack-5", {}, GpuInfo("Xavier", "7.2", None, True), None, None, None),
        ("desktop", {}, GpuInfo("NVIDIA GeForce RTX 4070", "8.9", 12282, False), "610.57.04", "13.3", None),
    ],
)
def test_read_nvidia(name, children, gpu, driver, cuda, toolkit):
    found = nvidia(board(name, children))
    assert found.gpus == (gpu,)
    assert (found.driver, found.cuda, found.toolkit) == (driver, cuda, toolkit)
    assert (found.cuda_error is None) == bool(children)
    assert found.card == (name == "desktop")


def test_read_nvidia_of_a_driver_without_compute_capability():
    refused = CommandResult('Field "compute_cap" is not a valid field to query.\n\n', "nvidia-smi: ended with 2")
    old = CommandResult("Tesla V100-SXM2-16GB, 470.256.02, 16160\nTesla V100-SXM2-16GB, 470.256.02, 16160\n")
    found = nvidia(board("desktop", commands={"nvidia-smi-query": refused, "another query": old}))
    assert found.gpus == (GpuInfo("Tesla V100-SXM2-16GB", None, 16160, False),) * 2
    assert found.driver == "470.256.02"
    broken = CommandResult("Failed to initialize NVML: Driver/library version mismatch\n", "nvidia-smi: ended with 18")
    found = nvidia(board("desktop", commands={"nvidia-smi-query": broken, "another query": broken}))
    assert (found.gpus, found.driver, found.cuda) == ((), "610.57.04", None)


def test_read_nvidia_queries_a_hanging_driver_once():
    commands = []

    def run(command, timeout_s):
        commands.append(command[0])
        return CommandResult("", "no answer in 15 s", timed_out=True)

    assert nvidia(dataclasses.replace(board("desktop"), run=run)).gpus == ()
    assert commands.count("nvidia-smi") == 1


def test_read_memory_and_swap():
    small = read_memory(board("orin-nano-super"))
    assert (small.total_mb, small.available_mb, small.small, small.desktop) == (7619, 4795, True, True)
    assert small.swaps == tuple(Swap(f"/dev/zram{i}", "zram", 634) for i in range(6))
    assert small.swap_mb == 0
    iso = read_memory(board("orin-nano-iso"))
    assert [swap.kind for swap in iso.swaps] == ["zram", "file"]
    assert (iso.swap_mb, iso.desktop) == (8191, False)
    large = read_memory(board("agx-thor"))
    assert (large.total_mb, large.small, large.swaps) == (125806, False, ())


ARGUS = "GStreamer: nvarguscamerasrc ! nvvidconv"


def test_read_cameras_by_name():
    assert read_cameras(board("orin-nano-super")).devices == (
        Camera("/dev/video0", "imx219 9-0010", "csi", True, read_by=ARGUS),
        Camera("/dev/video1", "imx219 10-0010", "csi", True, read_by=ARGUS),
        Camera("/dev/video2", "HD Pro Webcam C920", "v4l2", True, read_by="OpenCV, V4L2"),
    )
    assert read_cameras(board("orin-nano-super")).argus is True
    assert read_cameras(board("desktop")).devices == ()
    assert read_cameras(board("desktop")).argus is None


def test_read_cameras_in_natural_order(tmp_path):
    for number in (10, 2, 0):
        folder = tmp_path / f"sys/class/video4linux/video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_bytes(b"cam\xe9ra \x1b[31m\n")
    found = read_cameras(board(tmp_path)).devices
    assert [camera.device for camera in found] == ["/dev/video0", "/dev/video2", "/dev/video10"]
    assert not any(camera.readable for camera in found)  # the device nodes do not exist


@pytest.mark.parametrize(
    ("built", "gstreamer"), [("YES (1.20.3)", "1.20.3"), ("YES", "yes"), ("NO", None), ("YES (ver 1.24.2)", "1.24.2")]
)
def test_read_opencv(built, gstreamer):
    output = {"version": "4.8.0", "path": "/x/cv2", "build": BUILT_WITH.format(built)}
    machine = board("orin-nano-super", {"nanoseg.doctor.probe cv2": output}, {"opencv-python": "4.12.0.88"})
    found = read_opencv(machine)
    assert (found.version, found.path, found.error) == ("4.8.0", "/x/cv2", None)
    assert found.gstreamer == gstreamer
    assert found.pip == ("opencv-python",)
    assert found.system == "/usr/lib/python3.10/dist-packages"
    assert found.shadows
    assert not read_opencv(board("orin-nano-super")).shadows
    assert not read_opencv(board("desktop", installed={"opencv-python": "4.12.0.88"})).shadows


def test_read_system():
    found = read_system(board("orin-nano-super"))
    assert (found.name, found.kernel, found.container) == ("Ubuntu 22.04.5 LTS", "5.15.148-tegra", False)


@pytest.mark.parametrize(
    ("text", "sees"), [("include-system-site-packages = true\n", True), ("x = 1\n", False), (None, False)]
)
def test_read_python_of_a_virtual_environment(tmp_path, monkeypatch, text, sees):
    monkeypatch.setattr("sys.prefix", "/venv")
    (tmp_path / "venv").mkdir()
    if text:
        (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = /usr/bin\n{text}")
    python = read_python(board(tmp_path))
    assert (python.virtual, python.sees_system) == (True, sees)
    monkeypatch.setattr("sys.prefix", __import__("sys").base_prefix)
    assert read_python(board(tmp_path)).sees_system


def read_all(machine):
    found = state.read_state(machine)
    assert found.runs_on is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_read_state_never_raises_on_damaged_files(name, tmp_path):
    """Every file of every board truncated, with other bytes, without permission, as a folder, as a pipe."""
    shutil.copytree(BOARDS / name, tmp_path / "root")
    files = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    for path in files:
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
    read_all(board(tmp_path / "root"))
    for i, path in enumerate(files):
        path.write_bytes(bytes(range(256)) * 4 + b"\n\n: ,;=\n" + bytes([i]))
    read_all(board(tmp_path / "root"))
    for path in files:
        path.chmod(0)
    read_all(board(tmp_path / "root"))
    for path in files:
        path.unlink()
        path.mkdir()
    read_all(board(tmp_path / "root"))
    for path in files:
        path.rmdir()
        os.mkfifo(path)  # opening it for reading would wait for a writer
    shutil.rmtree(tmp_path / "root" / "commands")
    read_all(board(tmp_path / "root"))


def test_read_state_of_an_empty_machine(tmp_path):
    found = read_all(board(tmp_path / "nowhere"))
    assert (found.board.name, found.board.jetson, found.memory.total_mb, found.nvidia.gpus) == (None, False, None, ())
