"""What a camera counts of what its process tells."""

from nanoseg.sources.camera_status import CameraCounts


def test_the_clock_is_that_of_the_latest_frame():
    counts = CameraCounts()
    counts.opened({"description": "a stream"})
    value = {"width": 4, "height": 4, "media_ns": None, "damaged": 0, "busy": 0, "overdue": 0}
    for clock in ("arrival", "source"):  # from a stream's first report on
        counts.frame({**value, "clock": clock}, 1.0)
        assert counts.status("live", "", 1.0).clock == clock


def test_each_frame_that_a_process_tells_of_is_counted_once_and_has_its_index():
    counts = CameraCounts()
    counts.opened({"description": "a video"})
    value = {"width": 4, "height": 4, "media_ns": None, "clock": "arrival"}
    told = [(0, 0, 0), (0, 0, 2), (1, 1, 2), (1, 1, 5)]  # damaged, busy, overdue since the process began
    indices = [
        counts.frame({**value, "damaged": damaged, "busy": busy, "overdue": overdue}, 1.0)[0]
        for damaged, busy, overdue in told
    ]
    counts.overdue(9)  # the last ones
    status = counts.status("ended", "", 2.0)
    assert indices == [0, 3, 5, 9]
    assert status.dropped == {"damaged": 1, "newer": 1, "overdue": 9}
    assert status.frames == len(told) + 1 + 9
