"""`run --show`: displays that cannot be reached, are lost, or are none. No test has a display: OpenCV is faked."""

import sys

import pytest

from nanoseg.sinks import window

cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")
PARTS = "parts://?seed=3&size=64x48&objects=2"
FAKE = """
import sys, types
sys.modules["cv2"] = cv2 = types.ModuleType("cv2")
cv2.error, cv2.WINDOW_NORMAL, shown = ValueError, 0, []
def named(*_):
    print("Qt says much", flush=True)
    {named}
def imshow(_, image):
    shown.append(image.shape)
    {imshow}
cv2.namedWindow, cv2.imshow, cv2.destroyAllWindows = named, imshow, lambda: None
cv2.waitKey = lambda _: {key} if len(shown) == 4 else -1
from nanoseg.sinks.window_process import main
main()
"""


@pytest.fixture
def show(oracle, call, monkeypatch):
    """Run with --show and an OpenCV that does this."""

    def do(*flags, named="pass", imshow="pass", key=-1):
        monkeypatch.setenv("DISPLAY", ":77")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        code = FAKE.format(named=named, imshow=imshow, key=key)
        monkeypatch.setattr(window, "_COMMAND", (sys.executable, "-c", code))
        return call("run", PARTS, "--show", *flags)

    return do


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are Linux's")
@pytest.mark.parametrize(
    "variables", [{"DISPLAY": ":77"}, {"DISPLAY": "nowhere.invalid:0"}, {"WAYLAND_DISPLAY": "wayland-77"}]
)
def test_display_that_cannot_be_reached(oracle, call, monkeypatch, tmp_path, variables):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, out, err = call("run", PARTS, "--show", "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    if "headless" not in err:  # this OpenCV may have none
        assert " ".join(f"{name}={value}" for name, value in variables.items()) in err
        assert "cannot be reached; set DISPLAY" in err
        assert "--out" in err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("death", ["os.abort()", "os._exit(1)", "os.kill(os.getpid(), 9)", "raise RuntimeError"])
def test_display_that_ends_the_process(show, death):
    code, out, err = show(named=f"import os; {death}")
    assert (code, out) == (2, "")
    assert err.startswith("nanoseg: error: --show: the display DISPLAY=:77 cannot be reached; ")
    assert err.count("\n") == 1


def test_display_that_does_not_answer(show, monkeypatch):
    monkeypatch.setattr(window, "_OPEN_S", 0.5)
    code, out, err = show(named="import time; time.sleep(600)")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "DISPLAY=:77 does not answer" in err


def test_display_of_an_opencv_without_windows(show):
    code, out, err = show(named="raise cv2.error('not implemented')")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "opencv-python-headless" in err


def test_display_lost_ends_a_run_without_other_output(show):
    code, _, err = show(imshow="import os; len(shown) == 3 and os._exit(1)")
    assert (code, err) == (
        2,
        "nanoseg: error: --show: the display DISPLAY=:77 was lost; write pictures with --out instead\n",
    )


def test_display_lost_and_other_outputs_go_on(show, tmp_path):
    flags = ("--limit", 6, "--results", tmp_path / "r.jsonl")
    code, out, err = show(*flags, imshow="import os; len(shown) == 3 and os._exit(1)")
    assert (code, err) == (0, "nanoseg: --show: the display DISPLAY=:77 was lost; the run goes on without a window\n")
    assert out.startswith("6 frames")
    assert (tmp_path / "r.jsonl").read_bytes().count(b"\n") == 6


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_display_window_ends_with_a_key(show, key, tmp_path):
    code, out, err = show("--results", tmp_path / "r.jsonl", key=key)
    assert (code, err) == (0, "")
    assert out.startswith("4 frames")
    assert (tmp_path / "r.jsonl").read_bytes().count(b"\n") == 4


def test_display_window_of_a_live_source_ends_with_a_key(show, tmp_path):
    code, out, err = show("--live", "--results", tmp_path / "r.jsonl", key=27)
    assert (code, err) == (0, "")
    assert int(out.split()[0]) == (tmp_path / "r.jsonl").read_bytes().count(b"\n") >= 4


def test_display_variables_are_wanted(oracle, call, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = call("run", PARTS, "--show")
    assert code == 2
    assert err.startswith("nanoseg: error: --show: there is no display here; ")
    assert "--out instead" in err
    assert err.count("\n") == 1
