"""`nanoseg estimate`: the estimates of one board or of all, printed, and written as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanoseg.benchmark.boards import BOARDS, board
from nanoseg.benchmark.estimate import bundle_work, estimate_work
from nanoseg.benchmark.layer_lists import listed_work
from nanoseg.bundle import open_bundle
from nanoseg.commands.estimate.page import page
from nanoseg.commands.estimate.report import Estimates, comparison_lines, lines, report
from nanoseg.errors import UsageError
from nanoseg.utils.files import check_writable, write_atomic, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.terminal import print_json, print_line


@dataclass(frozen=True)
class EstimateOptions:
    """Options of `nanoseg estimate`."""

    device: str | None
    bundle: str
    objects: int
    compare_devices: bool
    layer_list: bool
    out: Path | None
    json: bool


def estimate(options: EstimateOptions) -> None:
    """Estimate a bundle's frames, and print and write the estimates; raises NanosegError."""
    if options.device is None and not options.compare_devices:
        raise UsageError(f"--device: wanted {', '.join(BOARDS)}, got none; or give --compare-devices")
    if options.device is not None:
        board(options.device)
    elif options.layer_list and not options.json:
        raise UsageError("--layer-list: wanted --device, beside whose figures it is printed, or --json")
    if options.out is not None:
        check_writable(options.out)
    bundle = open_bundle(options.bundle)
    work = bundle_work(bundle, options.objects)
    names = list(BOARDS) if options.compare_devices else [options.device or ""]
    listed = listed_work(bundle, work) if options.layer_list else None
    found = Estimates(
        bundle.name,
        bundle.version,
        {name: estimate_work(work, name) for name in names},
        options.device,
        None if listed is None else {name: estimate_work(listed, name) for name in names},
    )
    content = report(found)
    if options.out is not None:
        make_output_folder(options.out.parent)
        write_atomic(options.out, page(found, content).encode(), guard=write_errors)
    if options.json:
        print_json(content)
        return
    if options.device is not None:
        for line in lines(found, options.device):
            print_line(line)
    if options.compare_devices:
        for line in comparison_lines(found):
            print_line(line)
