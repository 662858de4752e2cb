"""The boundaries of the house, read from the source: who imports what, no import cycle, no long file."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

MAX_LINES = 300
TOPS = ("nanoseg", "tools", "benchmarks", "tests")
LEFT_CYCLES: set[str] = set()

# A library, and the rooms that may import it, at module level or inside a function; for type checkers all may.
# A library that is not listed may be imported anywhere.
ROOMS = {
    "torch": ("nanoseg.models", "benchmarks", "tests"),
    "modern_yolonas": ("nanoseg.models.training", "tests"),
    "onnxscript": ("nanoseg.models.export", "tests"),
    "onnx": ("nanoseg.onnx_graphs", "nanoseg.models.export", "benchmarks", "tests"),
    "onnxslim": ("nanoseg.onnx_graphs", "nanoseg.models.export", "tests"),
    "onnxruntime": (
        "nanoseg.backends.onnxruntime",
        "nanoseg.onnx_graphs.model",
        "nanoseg.doctor",
        "benchmarks",
        "tests",
    ),
    "trackers": ("nanoseg.tracking", "tests"),
    "trackeval": ("nanoseg.evaluation", "tests"),
    "tensorrt": ("nanoseg.backends", "tests"),
    "tensorrt_rtx": ("nanoseg.backends", "tests"),
    "cuda": ("nanoseg.backends", "tests"),
    "pycuda": ("nanoseg.backends", "tests"),
    "aiomqtt": ("nanoseg.service", "tests"),
    "starlette": ("nanoseg.service", "tests"),
    "uvicorn": ("nanoseg.service", "tests"),
    "nanoseg": TOPS,
    "tools": ("tools", "tests"),
    "benchmarks": ("benchmarks", "tests"),
    "tests": ("tests",),
}

# What loading a module may bring along, itself or through what it imports; the longest prefix counts.
HEAVY = {
    "cv2",
    "matplotlib",
    "modern_yolonas",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pycocotools",
    "supervision",
    "torch",
}
MAY_LOAD = {
    "nanoseg": {"cv2"},
    "nanoseg.backends.onnxruntime": {"cv2", "onnxruntime"},
    "nanoseg.evaluation.coco": {"pycocotools"},
    "nanoseg.evaluation.detector": {"cv2", "onnx", "onnxruntime", "pycocotools"},
    "nanoseg.bundle.get": {"onnx"},
    "nanoseg.bundle.make": {"onnx"},
    "nanoseg.bundle.network_table": {"onnx"},
    "nanoseg.commands.bundle.get": {"onnx"},
    "nanoseg.commands.bundle.make": {"onnx"},
    "nanoseg.commands.fp16": {"cv2", "onnx", "onnxruntime", "pycocotools"},
    "nanoseg.commands.quantize": {"cv2", "onnx", "onnxruntime", "pycocotools"},
    "nanoseg.models": HEAVY,
    "nanoseg.onnx_graphs": {"onnx", "onnxruntime"},
    "nanoseg.onnx_graphs.fp16": {"cv2", "onnx", "onnxruntime", "pycocotools"},
    "nanoseg.onnx_graphs.int8": {"cv2", "onnx", "onnxruntime", "pycocotools"},
    "nanoseg.sinks.annotate": {"cv2", "matplotlib", "supervision"},
    "nanoseg.tracking.library": {"cv2", "matplotlib", "supervision"},
}
LIGHT = {
    *("nanoseg", "nanoseg.__main__", "nanoseg.cli", "nanoseg.errors", "nanoseg.types"),
    *("nanoseg.backends.prompt_batches", "nanoseg.processing.geometry", "nanoseg.processing.prompts"),
}


@dataclass(frozen=True)
class Import:
    """One imported module, and when it is loaded: with the module that names it, by a call, or never (for types)."""

    name: str
    when: str  # "load", "call" or "types"


def _module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


MODULES = {
    _module_name(path.relative_to(ROOT).as_posix()): path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))
}


def _walk(nodes: Iterable[ast.AST], when: str) -> Iterator[tuple[ast.AST, str]]:
    for node in nodes:
        yield node, when
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _walk(node.body, "types")
            yield from _walk(node.orelse, when)
        else:
            inner = "call" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else when
            yield from _walk(ast.iter_child_nodes(node), inner)


def _in_benchmarks(name: str) -> str:
    """Benchmarks are scripts: they import each other without the folder."""
    return f"benchmarks.{name}" if f"benchmarks.{name}" in MODULES else name


def _imported(node: ast.AST, module: str) -> list[str]:
    """The names that one node imports, importlib.import_module("...") included."""
    if isinstance(node, ast.Import):
        return [_in_benchmarks(alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, f"{module}: a relative import"
        parent = _in_benchmarks(node.module or "")
        return [name if (name := f"{parent}.{alias.name}") in MODULES else parent for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
        name = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
        return [str(name.value).rstrip(".")] if isinstance(name, ast.Constant) else []
    return []


@cache
def imports(module: str) -> frozenset[Import]:
    """All that a module of this repository imports."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return frozenset(Import(name, when) for node, when in _walk(tree.body, "load") for name in _imported(node, module))


def _within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _packages(module: str) -> list[str]:
    """The packages that Python loads before `module`."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@cache
def loads(module: str) -> frozenset[str]:
    """The modules of this repository and the other libraries that `import module` loads."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        if name in MODULES:
            pending += [each.name for each in imports(name) if each.when == "load"]
            pending += _packages(name)
    return frozenset(name if name in MODULES else name.partition(".")[0] for name in found)


def test_imports_of_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{module} imports {each.name}"
        for module in MODULES
        for each in imports(module)
        if each.when != "types" and not _within(module, ROOMS.get(each.name.partition(".")[0], TOPS))
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_at_load_are_light() -> None:
    wrong = []
    for module in MODULES:
        if _within(module, ("nanoseg",)):
            prefix = max((prefix for prefix in MAY_LOAD if _within(module, (prefix,))), key=len)
            allowed = set() if module in LIGHT else MAY_LOAD[prefix]
            wrong += [f"{module} loads {library}" for library in loads(module) & HEAVY - allowed]
    assert not wrong, "\n".join(wrong)


def test_imports_form_no_cycle() -> None:
    """Between files: imports inside functions and for type checkers count, too."""
    left = {
        module: {each.name for each in imports(module) if each.name in MODULES and each.name != module}
        for module in MODULES
    }
    while free := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in free}
    # What is left is in a cycle or imports from one; those that nothing left imports are not in it.
    while free := left.keys() - set().union(*left.values()):
        left = {module: names for module, names in left.items() if module not in free}
    assert not {module: sorted(names & left.keys()) for module, names in left.items()}


def test_files_are_short() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > MAX_LINES}


def _modules_after(code: str, **environment: str) -> list[str]:
    """Modules that are loaded when `code` has run in a process of its own."""
    code = f"{code}\nimport sys\nprint('LOADED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("LOADED")[2].split()


def _libraries(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_import_of_the_package_is_light() -> None:
    loaded = _modules_after("import nanoseg")
    assert not _libraries(loaded) & (HEAVY | {"typer", "rich", "msgspec"})
    assert {name for name in loaded if _within(name, ("nanoseg",))} == set(loads("nanoseg") & MODULES.keys())


@pytest.mark.parametrize(
    "code",
    [
        "import nanoseg.backends.onnxruntime.session",
        "import nanoseg.backends.onnxruntime.gpu",
        "from nanoseg.doctor import probe; probe.onnxruntime()",
        "import nanoseg, onnxruntime",
    ],
)
def test_onnxruntime_is_imported_with_its_telemetry_disabled(code: str, tmp_path: Path) -> None:
    # A stand-in that prints the variable as ONNX Runtime would find it: nothing is reported even where this test fails.
    (tmp_path / "onnxruntime.py").write_text(
        "import os\nprint('DISABLED', os.environ.get('ORT_DISABLE_TELEMETRY'))\n__version__ = '1.27.0'\n"
        "disable_telemetry_events = get_available_providers = lambda: []\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["DISABLED", "1"]


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]], ids=" ".join)
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    loaded = _modules_after(f"from nanoseg.cli import run_command\nassert run_command({arguments}) == 0")
    assert not _libraries(loaded) & HEAVY


def test_loading_a_bundle_without_engines_loads_nothing_for_a_gpu(tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    loaded = _modules_after("import nanoseg\nnanoseg.load('parts').close()", NANOSEG_ENGINES=str(tmp_path))
    assert "nanoseg.backends.onnxruntime.engine" in loaded
    assert not [name for name in loaded if _within(name, ("nanoseg.backends.cuda", "nanoseg.backends.tensorrt"))]
    assert not _libraries(loaded) & {"cuda", "pycuda", "tensorrt", "tensorrt_rtx", "torch"}


def test_public_names_are_there() -> None:
    import nanoseg

    assert set(nanoseg.__all__) >= {"Detections", "Frame", "Prompts", "Segmenter", "load"}
    assert all(getattr(nanoseg, name) is not None for name in nanoseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nanoseg.nothing
