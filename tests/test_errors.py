"""The tree of errors: exit codes, and what is said of a library that is missing."""

import pytest

from nanoseg import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("SourceError", 3), ("BundleError", 4), ("EngineError", 5), ("DependencyError", 6)],
)
def test_exit_codes_are_the_designs(name, code):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.NanosegError)
    assert kind.exit_code == code
    assert f"{name} " in errors.__doc__


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'cv2'"), 'OpenCV is not installed: pip install "nanoseg[opencv]"'),
        (
            ImportError("libGL.so.1: cannot open\nshared object file"),
            "OpenCV cannot be loaded: libGL.so.1: cannot open shared object file; install what it misses, "
            'or again: pip install "nanoseg[opencv]"',
        ),
    ],
)
def test_a_missing_library_is_the_pip_line(error, message):
    with pytest.raises(errors.DependencyError) as raised, errors.needs("OpenCV", "opencv"):
        raise error
    assert str(raised.value) == message
