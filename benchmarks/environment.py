"""Where a figure was measured: what a result file says beside its figures."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = ("numpy", "onnxruntime", "opencv-python", "torch", "torchvision", "supervision", "pycocotools")


def environment() -> dict[str, Any]:
    """Return commit, processor, versions and load of this process and machine, as JSON has them."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(ROOT),
        "cpu": cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := installed(name))},
    }


def commit(root: Path) -> str:
    """Return the commit of a checkout, with `+changes` where files differ from it; "unknown" without git."""
    try:
        head = _git(root, "rev-parse", "--short=10", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "nanoseg", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+changes" * bool(changed)


def cpu() -> str:
    """Return the processor's name, and whether it has AVX-512."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    name = named.get("model name", platform.machine())
    return name + (" with AVX-512" if "avx512f" in named.get("flags", "").split() else "")


def installed(library: str) -> str | None:
    """Return the version of an installed library."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
