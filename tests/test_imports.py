"""Who may import what: each module alone, in a process of its own."""

import ast
import os
import subprocess
import sys
from functools import cache

import pytest

from tests.helpers.paths import ROOT

HEAVY = ("cv2", "matplotlib", "modern_yolonas", "onnx", "onnxruntime", "pycocotools", "supervision", "torch")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "nanoseg").rglob("*.py")
)


def allowed(module: str) -> set[str]:
    """The heavy libraries a module may bring along, by the house's rules."""
    if module.startswith("nanoseg.onnx_graphs"):
        return {"onnx", "onnxruntime"}
    if module in ("nanoseg.backends.onnxruntime.engine", "nanoseg.backends.onnxruntime.tensorrt_provider"):
        return {"onnxruntime"}
    if module == "nanoseg.backends.onnxruntime.gpu":
        return {"cv2", "onnxruntime"}
    if module == "nanoseg.sinks.annotate":
        return {"cv2", "matplotlib", "supervision"}
    if module.startswith("nanoseg.evaluation.protocols"):
        return {"cv2", "pycocotools"}
    light = ("types", "prompts", "errors", "cli", "bundle", "geometry", "prompting")
    if module in ("nanoseg", *(f"nanoseg.{name}" for name in light)):
        return set()
    return {"cv2"}


@cache
def loaded_by(module: str) -> tuple[set[str], str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    return set(done.stdout.split()), done.stderr


# nanoseg.models may bring anything, and takes seconds to do it.
@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("nanoseg.models")])
def test_a_module_brings_only_what_it_may(module):
    loaded, stderr = loaded_by(module)
    if not loaded and "DependencyError" in stderr:
        pytest.skip(stderr.strip().splitlines()[-1])
    assert loaded, stderr
    assert loaded & set(HEAVY) <= allowed(module)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_tools_or_tests(module):
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    assert not names & {"tools", "tests", "benchmarks"}
    if not module.startswith("nanoseg.models"):
        assert "torch" not in names
    if not module.startswith(("nanoseg.onnx_graphs", "nanoseg.models")):
        assert "onnx" not in names


def test_the_package_alone_is_light():
    loaded, stderr = loaded_by("nanoseg")
    assert "numpy" in loaded, stderr
    ours = "import sys, nanoseg; print(*sorted(name for name in sys.modules if name.startswith('nanoseg')))"
    done = subprocess.run([sys.executable, "-c", ours], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nanoseg", "nanoseg.errors", "nanoseg.processing.prompts", "nanoseg.types"]


LOAD = """
import sys, nanoseg
from nanoseg.backends.select import open_pipeline
from nanoseg.bundle.manifest import open_bundle

open_pipeline(open_bundle("parts"))
print(*sorted(name for name in sys.modules if name.startswith("nanoseg.backends.select.")))
"""


def test_a_machine_without_engines_loads_nothing_for_a_gpu(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    environment = {**os.environ, "NANOSEG_ENGINES": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    brought = done.stdout.split()
    assert "nanoseg.backends.onnxruntime.engine" in brought
    assert not [name for name in brought if name.startswith(("nanoseg.backends.cuda", "nanoseg.backends.tensorrt"))]


def test_the_public_names_are_there():
    import nanoseg

    assert set(nanoseg.__all__) >= {"Detections", "Frame", "Prompts", "Segmenter", "load"}
    assert all(getattr(nanoseg, name) is not None for name in nanoseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nanoseg.nothing
