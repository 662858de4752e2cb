"""Quantize a detector and write it with its report, all files or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nanoseg.commands.network_files import check_files, write_files
from nanoseg.commands.quantize.report import REPORT, import_figure, report_files
from nanoseg.onnx_graphs.int8.options import QuantizeOptions
from nanoseg.onnx_graphs.int8.quantize_detector import quantize_detector
from nanoseg.onnx_graphs.int8.report import QuantizeReport


def run_quantize(options: QuantizeOptions, report_folder: Path | None, log: Callable[[str], None]) -> QuantizeReport:
    """Quantize a detector and write it with its report, all files or none.

    Raises NanosegError; where the budget is out of reach, or INT8 spoils the network, the report is written before, and
    the network is not.
    """
    reads = (options.annotations, options.detector_spec)
    check_files(options.out, options.detector, "detector", reads, report_folder and report_folder / REPORT)
    if report_folder is not None and (options.sensitivity or options.max_drop is not None):
        import_figure()  # so that a missing matplotlib is reported before the long work
    result = quantize_detector(options, log)
    files = {} if result.onnx is None else {options.out: result.onnx}
    if report_folder is not None:
        files |= report_files(result.report, report_folder)
    write_files(files)
    result.check()
    return result.report
