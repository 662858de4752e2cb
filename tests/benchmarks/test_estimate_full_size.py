"""The tables of estimates of full-size networks, of work by hand."""

import json

from estimate_full_size import BUDGETS, LISTED, tables
from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.estimate import BundleWork, StageWork, estimate_work
from nanoseg.benchmark.layer import Layer
from nanoseg.benchmark.roofline import STAGES


def test_tables_have_all_boards_and_the_ratios_to_layer_lists():
    stages = {name: StageWork(name, "yolo_nas_s", [Layer("Conv", "", 0, True, 10**8, 0, 0)] * 2) for name in STAGES}
    copy = Layer("copy", "", 0, True, 1, 1, 0)
    work = BundleWork(8, stages, dict.fromkeys(("upload", "handover", "download"), copy))
    boards, listed = tables(work).split("\n\n")
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in boards.splitlines()]
    assert [row[0].partition(" (")[0] for row in rows[2:]] == [board.name for board in BOARDS.values()]
    for name, row in zip(BOARDS, rows[2:], strict=True):
        found = estimate_work(work, name)
        assert row[1] == f"{found.stages['prepare'].ms:.1f}, memory"
        assert row[5].startswith(f"{found.call_ms:.2f} ms (")
    engines = json.loads(BUDGETS.read_text())["full-size"]["engines"]
    for name, row in zip(LISTED.values(), listed.splitlines()[2:], strict=True):
        assert f"({engines[name]['kernels'] / 2:.2f} times) | 200.0 | " in row
