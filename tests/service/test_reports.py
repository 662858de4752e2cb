"""What the service says of itself, from its parts."""

from types import SimpleNamespace

from nanoseg.service.board import BoardState
from nanoseg.service.config import RegionConfig
from nanoseg.service.recent import Recent
from nanoseg.service.regions import Region
from nanoseg.service.reports import Reports
from nanoseg.sources.camera_status import CameraStatus
from tests.fakes.segmenter import detections

SIZE = (100, 200)


def a_region(source):
    """Return a region with one object in it."""
    region = Region(RegionConfig(source, "all", [(0, 0), (1, 0), (1, 1), (0, 1)]))
    region.update(detections(SIZE, [(20, 20, 80, 80)], [0]).materialize(), SIZE, 0.0)
    return region


def a_state(**cameras):
    """Return what GET /state answers of some cameras."""
    bundle = SimpleNamespace(labels=["bolt"])
    loop = SimpleNamespace(
        segmenter=SimpleNamespace(bundle=bundle, backend="", device=""),
        cameras=SimpleNamespace(status=lambda: cameras),
        regions=[a_region(name) for name in cameras],
    )
    outputs = SimpleNamespace(pictures=SimpleNamespace(latest=lambda name: None))
    swapper = SimpleNamespace(state=SimpleNamespace(document=dict))
    board, running = SimpleNamespace(state=BoardState()), SimpleNamespace(running="parts")
    return Reports(loop, outputs, swapper, Recent(), board, running).state(redacted=False)


def test_state_says_since_when_a_camera_is_as_it_is_whoever_looked_before():
    belt = a_state(belt=CameraStatus("lost", reason="no route", since_s=3600.04))["sources"][0]
    assert (belt["state"], belt["since_s"]) == ("lost", 3600.0)


def test_state_counts_nothing_of_a_camera_that_is_away():
    state = a_state(belt=CameraStatus("live"), yard=CameraStatus("lost"))
    assert [region["counts"] for region in state["regions"]] == [{"bolt": 1}, {}]
