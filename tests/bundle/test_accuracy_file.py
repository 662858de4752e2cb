"""Measured accuracy whose networks are not those of a bundle."""

from pathlib import Path

import pytest

from nanoseg.bundle.accuracy_file import check_accuracy
from nanoseg.bundle.manifest import AccuracyTable, NetworkEntry, NetworkTable
from nanoseg.errors import BundleError

ENTRY = NetworkEntry("tiny", "12", "random")


@pytest.mark.parametrize("name", ["detectr", "__class__", "__struct_fields__"])
def test_check_accuracy_refuses_unknown_networks(name: str) -> None:
    with pytest.raises(BundleError, match=rf"^a\.json: networks: wanted detector, .*, got '{name}'$"):
        check_accuracy(
            Path("a.json"), AccuracyTable(None, None, {name: "12"}), NetworkTable(ENTRY, ENTRY, ENTRY), print
        )
