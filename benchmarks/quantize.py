"""Time and memory of nanoseg quantize for YOLO-NAS S, M and L at 640, each in its own process.

    python benchmarks/quantize.py
    python benchmarks/quantize.py --variants s --rest fp32 --json

The weights are random, and the images frames of the simulated line without annotations, so that the time is that of
calibrating and writing, without mAP. Both figures are those of the whole process, from its start to its end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ("s", "m", "l")
TARGET_S, TARGET_GB = 300, 3.0
FRAME_WH = (1280, 720)
LABELS = ",".join(f"class {i}" for i in range(80))


def export(variant: str, out: Path) -> None:
    """Write a detector with random weights; for a process of its own, as torch needs much memory."""
    import torch

    from nanoseg.models.export.yolo_nas import export_yolo_nas
    from nanoseg.models.yolo_nas import YoloNas

    torch.manual_seed(0)
    checkpoint = out.with_suffix(".pt")
    torch.save(YoloNas(variant).state_dict(), checkpoint)
    export_yolo_nas(checkpoint, out, labels=LABELS, pixels="rgb")
    checkpoint.unlink()


def write_images(folder: Path, count: int) -> None:
    """Write frames of a line that show different parts; for a process of its own, too."""
    import cv2

    from nanoseg.sources.simulator.line import SimulatedLine

    line = SimulatedLine(seed=0, size_wh=FRAME_WH)
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), line.frame(40 * index).image)


def run_in_process(function: Callable[..., None], *arguments: Any) -> None:
    """Call the function in a new process, as this one's peak memory would count as its children's."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def measure(network: Path, out: Path, images: Path, count: int, rest: str) -> tuple[float, float, float]:
    """Return wall time and CPU time in seconds, and peak memory in GB, of quantizing one detector."""
    flags: list[str | Path] = ["--out", out, "--images", images, "--count", str(count), "--rest", rest]
    started = time.perf_counter()
    command = [sys.executable, ROOT / "tools" / "quantize_yolo_nas.py", network, *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(code)
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9  # Linux counts KiB


def main() -> None:
    """Parse the flags, measure the variants in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=64, help="images (default: %(default)s)")
    parser.add_argument("--rest", choices=("fp32", "fp16"), default="fp16", help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch, "images")
        run_in_process(write_images, images, options.count)
        for variant in options.variants.split(","):
            network, out = Path(scratch, f"{variant}.onnx"), Path(scratch, f"{variant}-int8.onnx")
            run_in_process(export, variant, network)
            seconds, cpu_seconds, gigabytes = measure(network, out, images, options.count, options.rest)
            mb_before, mb_after = (path.stat().st_size / 1e6 for path in (network, out))
            found.append(
                {
                    "variant": variant,
                    "rest": options.rest,
                    "images": options.count,
                    "cpus": len(os.sched_getaffinity(0)),
                    "seconds": round(seconds, 1),
                    "cpu_seconds": round(cpu_seconds, 1),
                    "target_seconds": TARGET_S,
                    "memory_gb": round(gigabytes, 2),
                    "target_memory_gb": TARGET_GB,
                    "mb_before": round(mb_before, 1),
                    "mb_after": round(mb_after, 1),
                }
            )
            network.unlink()
            out.unlink()
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.count} images, {found[0]['cpus']} CPUs (targets: {TARGET_S} s, {TARGET_GB:g} GB)")
    print(f"{'YOLO-NAS':8} {'seconds':>8} {'CPU time':>8} {'memory GB':>10} {'MB before':>10} {'MB after':>9}")
    for each in found:
        print(
            f"{each['variant'].upper():8} {each['seconds']:8.1f} {each['cpu_seconds']:8.1f} "
            f"{each['memory_gb']:10.2f} {each['mb_before']:10.1f} {each['mb_after']:9.1f}"
        )


if __name__ == "__main__":
    main()
