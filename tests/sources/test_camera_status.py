"""What a camera counts of what its process tells."""

from nanoseg.sources.camera_status import CameraCounts


def test_the_clock_is_that_of_the_latest_frame():
    counts = CameraCounts()
    counts.opened({"description": "a stream"})
    value = {"width": 4, "height": 4, "media_ns": None, "damaged": 0, "busy": 0}
    for clock in ("arrival", "source"):  # from a stream's first report on
        counts.frame({**value, "clock": clock}, 1.0)
        assert counts.status("live", "", 1.0).clock == clock
