"""The exceptions: exit codes, the message for a missing library, and messages on one line."""

import pytest

from nanoseg import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("SourceError", 3), ("BundleError", 4), ("EngineError", 5), ("DependencyError", 6)],
)
def test_errors_exit_codes(name, code):
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
        *(
            (
                error,
                f'OpenCV cannot be loaded: {text}; install what it misses, or again: pip install "nanoseg[opencv]"',
            )
            for error, text in (
                (RuntimeError("operator torchvision::nms does not exist"), "operator torchvision::nms does not exist"),
                (OSError("libc10.so: file too short"), "libc10.so: file too short"),
                (ValueError("numpy.dtype size changed"), "numpy.dtype size changed"),
                (AttributeError("_ARRAY_API not found"), "_ARRAY_API not found"),
                (
                    TypeError("Descriptors cannot be created directly.\nDo"),
                    "Descriptors cannot be created directly. Do",
                ),
                (SystemError(), "SystemError"),
            )
        ),
        (errors.DependencyError("onnx is not installed"), "onnx is not installed"),
    ],
)
def test_errors_needs_names_the_extra(error, message):
    with pytest.raises(errors.DependencyError) as raised, errors.needs("OpenCV", "opencv"):
        raise error
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("error", "one_line", "first_line"),
    [
        (ValueError(" not\n  a  number\n"), "not a number", "not"),
        (ValueError(), "ValueError", "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_errors_one_line_and_first_line(error, one_line, first_line):
    assert (errors.one_line(error), errors.first_line(error)) == (one_line, first_line)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(13, "Permission denied", "a"), "Permission denied"), (OSError("a\nb"), "a b")],
)
def test_errors_os_reason(error, reason):
    assert errors.os_reason(error) == reason


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a.png: \x1b[31mred\nline\r\x00", "a.png: \\x1b[31mred\\nline\\r\\x00"),
        ("b\udcff.png: no such file", "b\\xff.png: no such file"),
        ("rtsp://me:word@camera/1: no answer", "rtsp://***@camera/1: no answer"),
        ("a\u2028b", "a\\u2028b"),
        ("größe 5 µm", "größe 5 µm"),
    ],
)
def test_errors_are_one_line_whatever_they_quote(message: str, shown: str) -> None:
    assert str(errors.SourceError(message)) == shown


def test_errors_leave_out_the_middle_of_long_messages() -> None:
    message = str(errors.UsageError("a.toml: " + "x" * 10_000_000 + "; wanted a number"))
    assert message.startswith("a.toml: xxx")
    assert message.endswith("xxx; wanted a number")
    assert len(message) <= errors.MAX_MESSAGE
