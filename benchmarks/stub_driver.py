"""The stub of the CUDA driver of tests/stub_libcuda: building it, and the environment of a process that finds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from nanoseg.errors import DependencyError, EngineError

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "stub_libcuda" / "libcuda.c"
BINDINGS = ROOT / ".cuda-bindings"  # folders 12 and 13: make cuda-bindings


def build_stub(folder: Path) -> None:
    """Compile libcuda.so.1 into a folder; raises DependencyError without a C compiler, EngineError where it fails."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise DependencyError("no C compiler for the stub driver: apt-get install gcc")
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    command = [compiler, *flags, "-o", str(folder / "libcuda.so.1"), str(SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{SOURCE.name}: {done.stderr}")


def environment(folder: Path, bindings: int, **stub: object) -> dict[str, str]:
    """Return the environment of a process that finds the stub in `folder`, and cuda-bindings 12 or 13.

    `stub` are the stub's own variables without their prefix in lower case: trace, version, missing, delay_us. Raises
    DependencyError where these bindings are not there.
    """
    if not (BINDINGS / str(bindings)).is_dir():
        raise DependencyError(f"cuda-bindings {bindings} are not in {BINDINGS.name}/: make cuda-bindings")
    paths = {
        "PYTHONPATH": (BINDINGS / str(bindings), ROOT, ROOT / "benchmarks"),
        "LD_LIBRARY_PATH": (folder, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])),
    }
    joined = {name: os.pathsep.join(map(str, values)) for name, values in paths.items()}
    return {**os.environ, **joined, **{f"STUB_{name.upper()}": str(value) for name, value in stub.items()}}
