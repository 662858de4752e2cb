"""Estimate the frames of full-size networks in their default precisions on all boards, and write docs/benchmark.md.

    python benchmarks/estimate_full_size.py             # takes two to five minutes, most of it for the export
    python benchmarks/estimate_full_size.py --update    # writes the page

YOLO-NAS S at 640 in INT8 with the rest in float16, NanoSAM's ResNet18 at 1024 in float16, SAM's decoder in float32,
with random weights. Beside them stands what engine_budget.json has of the same graphs: kernels and bytes as TensorRT
for RTX lists them. Nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fit_estimate import PAGE
from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.estimate import BundleWork, bundle_work, estimate_work
from nanoseg.benchmark.layer import work_of
from nanoseg.commands.estimate.report import GOALS, NO_FIGURE, reaches, time_text

OBJECTS = 8
ARCHITECTURES = {"detector": "yolo_nas_s", "encoder": "nanosam_resnet18", "decoder": "sam_mask_decoder"}
BUDGETS = Path(__file__).with_name("engine_budget.json")
LISTED = {"prepare": "prepare", "detect": "detect fp16", "embed": "embed", "segment": f"segment_boxes {OBJECTS}"}
BEGIN = "<!-- full-size: benchmarks/estimate_full_size.py writes this -->\n"
END = "<!-- end of full-size -->\n"


def main() -> int:
    """Parse the flags, make the graphs, print the tables and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the page's section")
    options = parser.parse_args()
    import full_size_graphs as sizes  # it wants torch

    with tempfile.TemporaryDirectory() as folder:
        graphs = {}
        for name, content in sizes.full_size_graphs(Path(folder)).items():
            path = Path(folder, f"deployed {name}.onnx")
            path.write_bytes(content)
            graphs[name] = SimpleNamespace(built=SimpleNamespace(path=path))
        work = bundle_work(as_bundle(graphs, sizes), OBJECTS)
    text = tables(work)
    print(text)
    if options.update:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


def as_bundle(graphs: Mapping[str, Any], sizes: Any) -> Any:
    """Return what `bundle_work` reads of a bundle."""
    networks = {name: SimpleNamespace(architecture=each) for name, each in ARCHITECTURES.items()}
    return SimpleNamespace(
        graphs=graphs,
        networks=networks,
        detector_px=sizes.DETECTOR_PX,
        rescale_px=sizes.RESCALE_PX,
        encoder_px=sizes.ENCODER_PX,
    )


def tables(work: BundleWork) -> str:
    """Return the table of boards and that of layer lists, as Markdown."""
    head = ["estimated", *work.stages, "call", "stream", *(f"{goal} frames/s" for goal in GOALS)]
    rows = [head, ["---"] * len(head)]
    for name, board in BOARDS.items():
        found = estimate_work(work, name)
        stages = [f"{stage.ms:.1f}, {stage.binds}" for stage in found.stages.values()]
        times = [time_text(ms, found.error) for ms in (found.call_ms, found.stream_ms)]
        title = board.name if found.is_checked else f"{board.name} ({NO_FIGURE})"
        rows.append([title, *stages, *times, *(reaches(found, goal) for goal in GOALS)])
    engines = json.loads(BUDGETS.read_text(encoding="utf-8"))["full-size"]["engines"]
    listed = ["counted", "kernels", "by TensorRT for RTX", "MB", "by TensorRT for RTX"]
    rows += [[], listed, ["---"] * len(listed)]
    for name, stage in work.stages.items():
        own, theirs = work_of(stage.layers), engines[LISTED[name]]
        kernels = f"{theirs['kernels']} ({theirs['kernels'] / own.kernels:.2f} times)"
        traffic = f"{theirs['traffic_mb']:.1f} ({theirs['traffic_mb'] / own.traffic_mb:.2f} times)"
        rows.append([LISTED[name], str(own.kernels), kernels, f"{own.traffic_mb:.1f}", traffic])
    return "\n".join(f"| {' | '.join(row)} |" if row else "" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
