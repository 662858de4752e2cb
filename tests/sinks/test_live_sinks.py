"""The video and the window of a live source."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.types import Frame
from tests.fakes.segmenter import detections
from tests.sinks.frames import frame

av = pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")

from nanoseg.sinks import live_window  # noqa: E402
from nanoseg.sinks.live_video import LiveVideo  # noqa: E402
from nanoseg.sinks.live_window import LiveWindow, draw_status  # noqa: E402

START_NS = 1_764_393_480 * 10**9


def write(path, captured_s, sizes=((48, 64),)):
    rng = np.random.default_rng(0)
    with LiveVideo(path) as sink:
        for index, at_s in enumerate(captured_s):
            image = rng.integers(0, 255, (*sizes[index % len(sizes)], 3), np.uint8)
            one = Frame(image, index, START_NS + round(at_s * 1e9), "door", media_ns=7)
            sink.write(one, detections(one.size_hw), image)
    with av.open(str(path)) as container:
        return [(round(shown.time, 3), shown.width, shown.height) for shown in container.decode(video=0)]


@pytest.mark.parametrize(
    ("captured_s", "shown_s"),
    [
        ([0, 0.04, 0.1, 0.2], [0, 0.04, 0.1, 0.2]),
        ([5, 5.5, 65.5], [0, 0.5, 60.5]),  # it was away for a minute
        ([10, 10.1, 3, 3.1], [0, 0.1, 0.14, 0.24]),  # its clock was set back: goes on after a nominal frame
        (
            [0, 1e9, 1e9 + 0.1, 2e9, 3e9, 3e9 + 0.1],
            [0, 21600, 21600.1, 43200.1, 64800.1, 64800.2],
        ),  # set, or away for days
    ],
)
def test_live_video_has_the_times_of_the_capture(tmp_path, captured_s, shown_s):
    assert [time_s for time_s, _, _ in write(tmp_path / "a.mp4", captured_s)] == shown_s


def test_live_video_goes_on_with_another_size(tmp_path):
    shown = write(tmp_path / "a.mp4", [0, 1, 2, 3], sizes=((48, 64), (30, 30)))
    assert shown == [(float(time_s), 64, 48) for time_s in range(4)]


def test_live_video_plays_where_its_program_was_killed(tmp_path):
    path, copy = tmp_path / "a.mp4", tmp_path / "copy.mp4"
    with LiveVideo(path) as sink:
        for index in range(600):
            one = frame(index, level=index % 200)
            one = Frame(one.image, index, START_NS + index * 40_000_000, "door")
            sink.write(one, detections(one.size_hw), one.image)
        shutil.copy(tmp_path / "a.part.mp4", copy)  # as a power cut would leave it
    with av.open(str(copy)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 450


def test_live_window_tells_rate_age_and_drops(monkeypatch):
    shown, texts = [], []

    class AWindow:
        def __init__(self, alone, title):
            self.title = title

        def write(self, frame, found, image):
            shown.append((self.title, image))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            shown.append("left")

    clock = iter([10.0, 10.1, 10.2, 10.7, 13.2])
    monkeypatch.setattr(live_window, "Window", AWindow)
    # The module's alone: threads of other tests read the clock, too.
    clocks = SimpleNamespace(monotonic=lambda: next(clock), time_ns=lambda: START_NS + 84_000_000)
    monkeypatch.setattr(live_window, "time", clocks)
    monkeypatch.setattr(live_window, "draw_status", lambda image, text: texts.append(text) or image)
    one = Frame(np.zeros((48, 64, 3), np.uint8), 0, START_NS, "door")
    dropped = iter([0, 0, 3])
    with LiveWindow("door", lambda: next(dropped)) as window:
        for _ in range(3):
            window.write(one, detections(one.size_hw), one.image)
        window.idle()
        window.idle()
    assert texts == ["84 ms", "10.0 fps  84 ms", "10.0 fps  84 ms  3 dropped", "no frame for 3 s"]
    assert [name for name, _ in shown[:-1]] == ["door"] * 4
    assert shown[-1] == "left"


@pytest.mark.parametrize("size_hw", [(480, 640), (1080, 1920), (48, 64)])
def test_draw_status_marks_the_upper_left_corner_of_a_copy(size_hw):
    image = np.full((*size_hw, 3), 128, np.uint8)
    drawn = draw_status(image, "12.4 fps  84 ms")
    assert (image == 128).all()
    rows = np.nonzero((drawn != 128).any(2))[0]
    assert len(rows)
    assert rows.max() < max(size_hw[0] / 8, 20)
    assert drawn.min() < 64 < 192 < drawn.max()  # light letters on a dark ground
