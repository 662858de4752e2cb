"""Class names as people give them: a file, a list, or COCO's."""

import json
from pathlib import Path

import pytest

from nanoseg.bundle.labels import COCO, ordered_names, read_labels
from nanoseg.errors import UsageError
from tests.helpers.paths import DATA

LINES = {
    "plain": b"nut\nbolt\n",
    "windows": b"\xef\xbb\xbfnut\r\nbolt\r\n",
    "blank lines": b"\n  nut \n\nbolt",
}


def test_labels_coco_equal_the_data_sets(shared: Path) -> None:
    categories = json.loads((shared / "coco-mini" / "instances" / "val.json").read_text())["categories"]
    names = [entry["name"] for entry in sorted(categories, key=lambda entry: entry["id"])]
    assert list(COCO) == names


def test_labels_coco_has_eighty_names() -> None:
    assert len(COCO) == len(set(COCO)) == 80
    assert read_labels("coco") == read_labels("COCO") == COCO


@pytest.mark.parametrize("case", LINES)
def test_labels_from_a_file(case: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(LINES[case])
    assert read_labels(str(path)) == ("nut", "bolt")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("nut,bolt", ("nut", "bolt")),
        (" nut , hex bolt ,", ("nut", "hex bolt")),
        ("nut", ("nut",)),
        ("v1.5 nut, m/w", ("v1.5 nut", "m/w")),
        (",".join(COCO), COCO),  # longer than any file's name may be
    ],
)
def test_labels_with_commas(text: str, labels: tuple[str, ...]) -> None:
    assert read_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels.txt", "wanted a text file, found none"),
        ("runs/labels", "wanted a text file, found none"),
        ("", "got none"),
        (" , ", "got none"),
        (str(DATA / "golden_processing.npz"), "cannot be read as text"),
    ],
)
def test_labels_refuses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_labels(text)
    assert str(caught.value).startswith("--labels: ")
    assert "\n" not in str(caught.value)


def test_labels_refuses_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UsageError, match="got none"):
        read_labels(str(tmp_path / "empty.txt"))


ELEVEN = tuple(f"class {number}" for number in range(11))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["nut", "bolt"], ("nut", "bolt")),
        (("nut", 7), ("nut", "7")),
        ({1: "bolt", 0: "nut"}, ("nut", "bolt")),
        ({str(number): ELEVEN[number] for number in (10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9)}, ELEVEN),
        ({"0": "nut", 1: "bolt"}, ("nut", "bolt")),
        ({1: "nut", 2: "bolt"}, None),  # from one, or with a gap: the order is unknown
        ({0: "nut", "0": "bolt"}, None),
        ({0: "nut", "bolt": 1}, None),
        ({"nut": 0, "bolt": 1}, None),
        ({-1: "nut", 0: "bolt"}, None),
        ({0: {"name": "nut"}}, None),
        ({}, None),
        ([], None),
        ("nut", None),
        (3, None),
    ],
)
def test_labels_ordered_names(value: object, names: tuple[str, ...] | None) -> None:
    assert ordered_names(value) == names
