"""Write the predicted times in docs/jetson.md anew, from engine_budget.json and from engine_budget_df75316.json.

python benchmarks/engine_budget.py --full-size --update && python benchmarks/predict_docs.py
"""

from __future__ import annotations

from pathlib import Path

from nanoseg.benchmark.boards import BOARDS, board
from nanoseg.benchmark.roofline import FramePrediction
from predict import BUDGETS, FULL_SIZE, frame_work, read_engines

PAGE = Path(__file__).parents[1] / "docs" / "jetson.md"
BEFORE = Path(__file__).with_name("engine_budget_df75316.json")
BEGIN, END = "<!-- predicted: benchmarks/predict_docs.py writes this -->\n", "<!-- end of predicted -->\n"
BOXES = (1, 4, 8)
HISTORY = "orin-nano-super"
DETECTORS = {"int8": "INT8 as listed", "fp16": "float16 form"}


def main() -> None:
    """Write the page."""
    PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def inserted(page: str) -> str:
    """Return a page with the tables of today's figures between BEGIN and END."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + "\n\n".join((boards_table(), history_table())) + "\n\n" + END + rest.split(END)[1]


def boards_table() -> str:
    """Return the table of frames on all boards; a cell has call and stream."""
    engines = read_engines(BUDGETS, FULL_SIZE)
    columns = [(count, decoder) for decoder in ("fp32", "fp16") for count in BOXES]
    titles = [f"{count} object{'s' * (count > 1)}{', FP16 decoder' * (dec == 'fp16')}" for count, dec in columns]
    rows = []
    for name, each in BOARDS.items():
        frames = [FramePrediction.of(frame_work(engines, count, "int8", dec), board(name)) for count, dec in columns]
        rows.append([each.name, *(f"{frame.call_ms:.1f} / {frame.stream_ms:.1f}" for frame in frames)])
    return _markdown(["predicted ms a frame, call / stream", *titles], rows)


def history_table() -> str:
    """Return the table of what has changed, by stage, for 8 objects on one board."""
    rows = []
    for detector, form in DETECTORS.items():
        for title, path, decoder in (
            ("df75316, before", BEFORE, "fp32"),
            ("now", BUDGETS, "fp32"),
            ("now, FP16 decoder", BUDGETS, "fp16"),
        ):
            frame = FramePrediction.of(frame_work(read_engines(path, FULL_SIZE), 8, detector, decoder), board(HISTORY))
            stages = (frame.stages[name].ms for name in ("prepare", "detect", "embed"))
            times = (*stages, frame.side_by_side_ms, frame.stages["segment"].ms, frame.copies_ms)
            totals = (frame.call_ms, frame.stream_ms)
            rows.append([title, form, *(f"{ms:.2f}" for ms in times), *(f"{ms:.1f}" for ms in totals)])
    heads = ["prepare", "detect alone", "embed alone", "both side by side", "segment", "copies", "call", "stream"]
    return _markdown([f"predicted ms, 8 objects, {BOARDS[HISTORY].name}", "detector", *heads], rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
