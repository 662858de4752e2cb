"""`nanoseg bundle measure`: print accuracy as a table or JSON, and write it for `nanoseg bundle make --accuracy`."""

from __future__ import annotations

from pathlib import Path

from nanoseg.bundle import open_bundle
from nanoseg.bundle.external_data import combined_sha256
from nanoseg.bundle.manifest import Accuracy, AccuracyTable
from nanoseg.bundle.measure import DEPLOYED, FLOAT32, measure_bundle, open_labelled_images
from nanoseg.errors import UsageError
from nanoseg.utils.files import check_writable, file_ids, write_atomic, write_errors
from nanoseg.utils.names import encode_json
from nanoseg.utils.terminal import plural, print_json, print_table, progress_bar


def measure(
    name_or_path: str,
    float_bundle: str | None,
    images: str | None,
    annotations: Path | None,
    limit: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure a bundle, print the result, and write it to `out`; raises NanosegError."""
    if out is not None:
        check_writable(out)
        if annotations is not None and file_ids([out]) & file_ids([annotations]):
            raise UsageError(f"--out: {out} is also the file of --annotations; give another name")
    bundle = open_bundle(name_or_path)
    float32 = None if float_bundle is None else open_bundle(float_bundle)
    labelled = open_labelled_images(images, annotations, limit)
    with progress_bar(labelled.dataset, labelled.count, unit="images") as advance:
        measured = measure_bundle(bundle, labelled, float32, advance=advance)
    if as_json:
        print_json(measured)
    else:
        title = f"{bundle.name} {bundle.version}: {plural(labelled.count, 'image')} of {labelled.dataset}"
        print_table(title, [(name, _format(result, measured.get(FLOAT32))) for name, result in measured.items()])
    if out is not None:
        digests = {name: combined_sha256(entry.sha256, entry.external) for name, entry in bundle.networks.items()}
        table = AccuracyTable(float32=measured.get(FLOAT32), deployed=measured[DEPLOYED], networks=digests)
        write_atomic(out, encode_json(table, indent=True), guard=write_errors)


def _format(result: Accuracy, float32: Accuracy | None) -> str:
    text = f"mAP50-95 {result.map50_95:.4f}, mAP50 {result.map50:.4f}, mIoU {result.miou:.4f}"
    if float32 is None or result is float32:
        return text
    points = 100 * (float32.map50_95 - result.map50_95)
    return f"{text}, costs {points:.2f} points of mAP50-95, {float32.miou - result.miou:.4f} of mIoU"
