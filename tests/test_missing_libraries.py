"""tests/helpers/missing_libraries.py: what is skipped, and what is a mistake."""

import ast
import subprocess
import sys

import pytest

from nanoseg.errors import DependencyError
from tests.helpers.missing_libraries import LIBRARIES, what_is_missing
from tests.helpers.paths import ROOT


def raised(code, module="tests.test_x", cause=None):
    """The error that some code of a module raises."""
    try:
        exec(code, {"__name__": module, "DependencyError": DependencyError, "cause": cause})
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("code", "module", "why"),
    [
        (
            "raise ModuleNotFoundError(name='onnxruntime.capi')",
            "nanoseg.x",
            "needs onnxruntime, which is not installed",
        ),
        ("raise ModuleNotFoundError(name='onx')", "tests.test_x", ""),
        ("raise DependencyError('OpenCV is not installed: pip')", "tests.test_x", "OpenCV is not installed: pip"),
        ("raise OSError('no libcudart.so')", "torch.cuda", "needs torch, which cannot be loaded: no libcudart.so"),
        ("raise OSError('no file')", "tests.test_x", ""),
        ("raise ValueError('no node')", "onnx.helper", ""),
    ],
)
def test_what_is_missing(code, module, why):
    error = raised(code, module)
    assert what_is_missing(error) == why
    assert what_is_missing(raised("raise SyntaxError('in conftest.py') from cause", cause=error)) == why


def test_every_library_that_files_import_may_be_missing():
    """But for numpy and pytest, and the one that Python 3.10 needs to read TOML."""
    mine = {"nanoseg", "tests", *(path.stem for path in ROOT.glob("benchmarks/*") if path.suffix != ".json")}
    always = {*sys.stdlib_module_names, *mine, "numpy", "pytest", "tomli"}
    for path in (path for top in ("nanoseg", "tests") for path in ROOT.glob(f"{top}/**/*.py")):
        if path.name == "make.py":  # a script of a case
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.partition(".")[0] for name in names} <= LIBRARIES | always, path


FILES = {
    "test_runs.py": "def test_it():\n    pass\n",
    "test_wants.py": "raise ModuleNotFoundError(name='tensorrt')\n",
    "inner/__init__.py": "",
    "inner/conftest.py": "raise ModuleNotFoundError(name='torch')\n",
    "inner/test_is_in_it.py": "def test_it():\n    pass\n",
}


@pytest.mark.parametrize(
    ("more", "code", "end"), [({}, 0, "1 passed, 2 skipped"), ({"test_bad.py": "import nanosge\n"}, 2, "1 error")]
)
def test_files_and_folders_are_skipped(tmp_path, more, code, end):
    for name, content in {**FILES, **more}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    words = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-p", "tests.helpers.missing_libraries"]
    done = subprocess.run(
        [*words, "--rootdir", tmp_path, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout
    assert end in done.stdout
    for library in ("tensorrt", "torch"):
        assert f"needs {library}, which is not installed" in done.stdout
