"""Convert a network to FP16 and write it with its report, all files or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nanoseg.commands.fp16.report import REPORT, report_files
from nanoseg.commands.network_files import check_files, write_files
from nanoseg.onnx_graphs.fp16.convert import Fp16Options, convert_network
from nanoseg.onnx_graphs.fp16.report import Fp16Report


def run_fp16(options: Fp16Options, report_folder: Path | None, log: Callable[[str], None]) -> Fp16Report:
    """Convert a network and write it with its report, all files or none; raises NanosegError."""
    reads = (options.decoder, options.encoder, options.annotations, options.detector_spec)
    check_files(options.out, options.network, "network", reads, report_folder and report_folder / REPORT)
    result = convert_network(options, log)
    files = {options.out: result.onnx}
    if report_folder is not None:
        files |= report_files(result.report, report_folder)
    write_files(files)
    return result.report
