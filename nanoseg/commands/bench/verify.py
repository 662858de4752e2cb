"""`nanoseg bench verify`: whether a report is what was written, and whether its run was valid."""

from __future__ import annotations

from pathlib import Path

from nanoseg.benchmark.certificate import read_report
from nanoseg.commands.bench.table import headline
from nanoseg.errors import EngineError, UsageError
from nanoseg.utils.terminal import print_json, print_line


def verify(path: Path, as_json: bool) -> int:
    """Print the verdict and return the exit code; raises UsageError where the file cannot be read."""
    report, problems = read_report(path)
    if as_json:
        print_json(
            {"intact": not problems, "problems": problems, "valid": report.valid and not problems}
            | {"reasons": report.reasons, "sha256": report.sha256, "quick": report.quick}
        )
    else:
        print_line(f"{path}: {headline(report)}, {report.made_at}{', quick' * report.quick}")
        print_line(f"  intact  {'NO: ' + '; '.join(problems) if problems else f'yes, sha256 {report.sha256}'}")
        valid = "not known, as the file was changed" if problems else "yes"
        print_line(f"  valid   {valid if report.valid else 'NO: ' + '; '.join(report.reasons)}")
        if not report.answers.checked:
            print_line(f"  answers {report.answers.summary}")
    if problems:
        return UsageError.exit_code
    return 0 if report.valid else EngineError.exit_code
