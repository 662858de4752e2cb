"""The page in headless Chromium, against the fake service; NANOSEG_PAGE_URL names a real one for what asks no fault."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.fakes.service_server import REGIONS, make_cameras, serving
from tests.fakes.service_state import Camera, Service
from tests.service.page.driver import drive, missing

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

pytestmark = pytest.mark.slow
REAL = os.environ.get("NANOSEG_PAGE_URL", "")
HOSTILE = '<img src=x onerror="document.body.remove()">'


@pytest.fixture(scope="module")
def pictured() -> list[Camera]:
    if why := missing():
        pytest.skip(why)
    return make_cameras(["belt", "packing-table"], count=16)


@pytest.fixture
def cameras(pictured: list[Camera]) -> list[Camera]:
    """Live ones, whatever another test has made of its own."""
    return [Camera(each.name, each.seed, each.size_wh, pictures=each.pictures) for each in pictured]


@pytest.fixture
def fake(cameras: list[Camera]) -> Iterator[str]:
    with serving(Service(cameras, regions=REGIONS)) as url:
        yield url


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return REAL or request.getfixturevalue("fake")


def see(scenario: str, url: str, token: str = "", errors: str = "$none") -> dict:
    """Drive a scenario; no other host is asked, and the console has no error but `errors`, a pattern."""
    saw = drive(scenario, url, token)
    assert saw["strangers"] == []
    assert [error for error in saw["errors"] if not re.search(errors, error)] == []
    return saw


def polygon(toml: str) -> list[list[float]]:
    """The corners of one drawn region."""
    (region,) = tomllib.loads(toml)["region"]
    return region["polygon"]


def test_page_shows_what_the_service_says(url: str) -> None:
    saw = see("live", url)
    assert saw["moves"]
    assert saw["movesPlain"]
    assert saw["bytes"] < 100_000
    assert "default-src 'self'" in saw["policy"]
    assert saw["state"] == "Live"
    assert not saw["stale"]
    assert re.search(r"Rate\n\d+\.\d fps", saw["tiles"])
    assert all(stage in saw["stages"] for stage in ("detect", "embed", "segment", "total"))
    assert "99 %" in saw["ages"]
    assert all(re.fullmatch(r".+\n\d+ × \d+ px\n\d+ %", line) for line in saw["objects"])
    assert all(term in saw["details"] for term in ("Live since", "Reconnects", "Dropped"))
    if len(saw["names"]) > 1:
        assert saw["snapshotMoves"]
        assert saw["secondMoves"]
    if not REAL:
        assert saw["ratio"] == pytest.approx(960 / 540, rel=0.01)  # of the second camera


def test_page_segments_what_is_pointed_at(url: str) -> None:
    saw = see("segment", url)
    assert saw["area"] > 0
    assert f"{saw['area']:,} px" in saw["result"]
    assert f"{saw['area']:,} px" in saw["label"]
    assert saw["outline"].startswith("M")
    assert saw["rests"]
    assert saw["undone"] == saw["area"]
    assert (len(saw["areas"]), saw["second"], saw["left"], saw["cleared"]) == (2, 2, 1, 0)
    assert saw["goesOn"]
    first, *_, held = (each for each in saw["sent"] if "prompts" not in each)
    assert first.keys() == held.keys() == {"source"}
    asked = [each for each in saw["sent"] if "prompts" in each]
    asked = [each for each in asked if each["frame"] == asked[-1]["frame"]]
    assert len(asked) >= 5
    assert asked[0]["prompts"]["labels"] == [[1]]
    assert asked[1]["prompts"]["labels"] == [[1, 0]]
    assert asked[1]["prompts"]["points"][0][:1] == asked[0]["prompts"]["points"][0]
    ((left, top, right, bottom),) = asked[2]["prompts"]["boxes"]
    assert left < right
    assert top < bottom
    assert saw["drawn"] == sum(area > 0 for area in saw["areas"])
    if not REAL:
        assert min(saw["areas"]) > 0
        assert saw["refined"] < saw["area"]


def test_page_works_by_keyboard_alone(url: str) -> None:
    saw = see("keyboard", url)
    assert saw["skip"] == "Skip to the picture"
    assert (saw["focused"], saw["outline"], saw["help"], saw["cursor"]) == ("stage", "solid", True, 1)
    assert "from the left" in saw["spoken"]
    assert saw["area"] > 0
    assert (saw["boxes"], saw["cleared"]) == (2, 0)
    assert [each["prompts"]["labels"] for each in saw["sent"][1:3]] == [[[1]], [[1, 0]]]
    assert len(polygon(saw["toml"])) == 3
    assert "1 more corner" in saw["fewer"]
    assert {"stage", "undo", "region-name", "region-copy", "camera", "objects"} <= {*saw["reached"]}


def test_page_makes_a_region_for_the_configuration(url: str) -> None:
    saw = see("region", url)
    assert "3 corners" in saw["empty"]
    assert "3 corners" in saw["cleared"]
    (region,) = tomllib.loads(saw["toml"])["region"]
    assert region["name"] == "out-feed"
    assert "The name wants" in saw["fault"]
    assert region["polygon"] == [
        pytest.approx(corner, abs=0.01) for corner in ([0.25, 0.25], [0.75, 0.25], [0.75, 0.75])
    ]
    assert polygon(saw["moved"])[2] == pytest.approx([0.5, 0.9], abs=0.02)
    assert saw["copied"] == saw["moved"]
    assert saw["pasted"] == saw["moved"]
    assert saw["stillLive"]


def test_page_works_on_a_phone(url: str) -> None:
    saw = see("narrow", url)
    assert saw["moves"]
    assert [saw["width"], saw["widthHeld"], saw["widthRegion"]] == [360, 360, 360]
    assert saw["small"] == 0
    assert saw["area"] > 0
    assert len(saw["areas"]) == 2
    assert len(polygon(saw["toml"])) == 3
    labels = [each["prompts"]["labels"] for each in saw["sent"] if "prompts" in each]
    assert labels == [[[1]], [[1, 0]], None]


def test_page_is_accessible(url: str) -> None:
    found = see("access", url)["found"]
    assert found.pop("transition") == "0s"
    assert {*found.pop("live")} == {"connection", "banner-text", "result", "announce"}
    assert len(found) == 8
    assert not {state: faults for state, faults in found.items() if faults}


def test_page_says_that_the_connection_is_lost_and_returns(url: str) -> None:
    saw = see("lost", url, errors="ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED")
    assert "lost since" in saw["banner"]
    assert "This picture is" in saw["stale"]
    assert saw["title"].startswith("Stale")
    assert saw["movesAgain"]
    assert not saw["banners"]
    assert saw["silent"] == "No connection"
    assert saw["movesAfterSilence"]
    assert saw["restsHidden"]
    assert saw["movesSeen"]


def test_page_asks_for_the_token_and_renews_what_it_signs(cameras: list[Camera]) -> None:
    with serving(Service(cameras, "s3cret", sign_s=2)) as url:
        saw = see("token", url, "s3cret", errors="status of 401")
    assert "wants a token" in saw["why"]
    assert saw["focused"] == "token"
    assert "wants a token" in saw["cancelled"]
    assert saw["moves"]
    assert saw["movesLater"]
    assert saw["kept"] == ["s3cret"]
    assert saw["pills"] == []
    assert min(saw["signed"], saw["opened"]) >= 4
    assert len(saw["areas"]) == 1
    assert not saw["asked"]
    assert saw["url"]


def test_page_says_what_is_wrong(fake: str) -> None:
    saw = see("faults", fake, errors="status of (410|503)")
    assert "no route to host" in saw["stale"]
    assert "no route to host" in saw["details"]
    assert "Camera belt: Lost" in saw["spoken"]
    assert saw["movesAgain"]
    assert len(saw["afterBusy"]) == 1
    assert "others take all the time" in saw["busy"]
    assert saw["goesOn"]


def test_page_takes_names_as_text(cameras: list[Camera]) -> None:
    camera = Camera(HOSTILE, 1, pictures=cameras[0].pictures)
    region = {"source": HOSTILE, "name": "</script><b>bold", "polygon": [[0, 0], [1, 0], [1, 1]]}
    with serving(Service([camera], regions=[region])) as url:
        saw = see("hostile", url)
    assert saw["moves"]
    assert (saw["name"], saw["regions"]) == (HOSTILE, ["</script><b>bold"])
    assert (saw["images"], saw["bold"], saw["width"]) == (1, 0, 1280)


def test_page_draws_no_picture_of_another_camera(fake: str) -> None:
    saw = see("late", fake)
    assert saw["live"] == saw["held"] == [saw["names"][1], True]


def test_page_keeps_small_pictures_with_their_cameras(cameras: list[Camera]) -> None:
    """And asks for none of a camera that has none yet."""
    third = Camera("dock", 7, state="connecting")
    with serving(Service([*cameras, third])) as url:
        saw = see("removed", url)
    names = ["belt", "packing-table", "dock"]
    assert saw["before"] == [[name, name] for name in names]
    assert saw["after"] == [[name, name] for name in names[1:]]
    assert saw["focused"] == "packing-table"


def test_page_leaves_no_connection_behind(cameras: list[Camera]) -> None:
    with serving(Service(cameras, "s3cret", sign_s=2)) as url:
        assert see("renewed", url, "s3cret", errors="status of 401")["open"] == 1


def test_page_charts_have_time_as_their_axis(fake: str) -> None:
    saw = see("hidden", fake)
    places = saw["places"]
    assert saw["box"].split()[2] == "30"
    gaps = [(way, after - before) for (_, before), (way, after) in pairwise(places)]
    assert [(way, gap > 4) for way, gap in gaps if gap > 3] == [("M", True)]
    assert places[-1][1] == pytest.approx(30, abs=1)


def test_page_has_words_for_nothing(cameras: list[Camera]) -> None:
    with serving(Service([])) as url:
        saw = see("empty", url)
    assert "No camera is configured" in saw["cameras"]
    assert "No region" in saw["regions"]
    assert not saw["state"]
    assert "No camera" in saw["stage"]
