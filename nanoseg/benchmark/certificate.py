"""The certificate of a report: a sha256 over its own content.

It says that nobody changed the file since, by hand or by accident. It is no signature: whoever wants to forge one can.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nanoseg.benchmark.report import FORMAT, KIND, Report, windows_of
from nanoseg.benchmark.statistics import latency_percentiles
from nanoseg.errors import UsageError
from nanoseg.utils.json_text import read_json
from nanoseg.utils.toml import invalid_key

MAX_REPORT_BYTES = 256 << 20
_DIGEST = "sha256"


def content_sha256(content: dict[str, Any]) -> str:
    """Return the digest of a report's content, but for the digest itself: JSON with sorted keys and without spaces."""
    rest = {name: value for name, value in content.items() if name != _DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def certify(report: Report) -> dict[str, Any]:
    """Return a report's content with its digest, ready for JSON; the report gets it, too."""
    # By way of text, as what is read back is not told apart then: tuples from lists, say.
    content: dict[str, Any] = json.loads(msgspec.json.encode(report))
    report.sha256 = content[_DIGEST] = content_sha256(content)
    return content


def read_report(path: Path) -> tuple[Report, list[str]]:
    """Read a report.

    Args:
        path: bench.json.

    Returns:
        The report, and what is wrong with the file, one line each: its content is not what was certified, or its
        figures are not those of its samples.

    Raises:
        UsageError: It cannot be read, or is no report.
    """
    content = read_json(path, dict, MAX_REPORT_BYTES)
    if content.get("kind") != KIND:
        raise UsageError(f"{path}: wanted a report of nanoseg bench, got {str(content.get('kind', 'another file'))!r}")
    if content.get("format") != FORMAT:
        raise UsageError(f"{path}: format: wanted {FORMAT}, got {content.get('format')}; another nanoseg wrote it")
    try:
        report = msgspec.convert(content, Report)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {invalid_key(error)}") from error
    problems = []
    if (digest := content_sha256(content)) != report.sha256:
        problems.append(f"its content was changed: sha256 {digest[:12]}, certified {report.sha256[:12] or 'none'}")
    for each in report.configurations:
        try:
            for samples in each.stages.values():
                _check(samples.values_ms())
            if each.frames != len(each.whole.values_ms()):
                problems.append(f"{each.title}: it says {each.frames} frames, and has {len(each.whole.values_ms())}")
            problems += [
                f"{each.title}: {stage}: the percentiles are not those of the samples"
                for stage, samples in each.stages.items()
                if not _same(samples.percentiles_ms, latency_percentiles(samples.values_ms()))
            ]
            if each.stable != windows_of(each.whole.values_ms())[1]:
                problems.append(f"{each.title}: the samples are {'not ' * each.stable}stable, the file says otherwise")
        except KeyError as error:
            raise UsageError(f"{path}: {each.title}: it lacks the samples of {error}") from error
        except ValueError as error:
            raise UsageError(f"{path}: {each.title}: {error}") from error
    if report.valid == bool(report.reasons):
        problems.append("it is called valid, and gives reasons why it is not" if report.valid else "no reason is given")
    if report.valid and not all(each.stable for each in report.configurations):
        problems.append("it is called valid, and was unstable")
    if report.valid and report.answers.checked and not report.answers.right:
        problems.append("it is called valid, and its engines gave wrong answers")
    return report, problems


def _check(values_ms: np.ndarray) -> None:
    if not len(values_ms):
        raise ValueError("float32_ms: wanted the latencies of frames, got none")
    if not (np.isfinite(values_ms) & (values_ms >= 0)).all():
        raise ValueError("float32_ms: wanted latencies, got numbers below 0 or none at all")


def _same(one: dict[str, float], other: dict[str, float]) -> bool:
    return one.keys() == other.keys() and all(np.isclose(one[name], other[name], atol=2e-4) for name in one)
