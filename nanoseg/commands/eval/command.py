"""`nanoseg eval`: run the images that no earlier run did, write the results, and print figures."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.bundle.manifest import MANIFEST
from nanoseg.commands.eval.page import page
from nanoseg.commands.eval.report import make_report, print_report
from nanoseg.commands.notes import note_machine_parts
from nanoseg.errors import UsageError
from nanoseg.evaluation.coco_truth import CocoTruth, read_coco_truth
from nanoseg.evaluation.evaluate_coco import EvalSettings, PromptKind, check_masks, oks_sigmas, run_images
from nanoseg.evaluation.evaluation import Evaluation, evaluate
from nanoseg.evaluation.result_log import log_key, open_result_log
from nanoseg.processing.geometry import Resize
from nanoseg.segmenter import Segmenter
from nanoseg.utils.files import check_writable, file_ids, write_all_atomic, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.names import encode_json
from nanoseg.utils.terminal import plural, print_error, print_json, progress_bar

LOG, REPORT, PAGE, DETECTIONS, OBJECTS = "images.jsonl", "report.json", "report.html", "detections.json", "objects.json"

DRAWN_PARTS = "the embedded bundle was trained on drawn machine parts alone, and on nothing of these categories"


@dataclass(frozen=True)
class EvalOptions:
    """The flags of `nanoseg eval`."""

    images: Path
    annotations: Path
    bundle: str = "parts"
    prompts: PromptKind = "truth"
    confidence: float = 0.01
    iou: float | None = None
    resize: Resize | None = None
    out: Path | None = None
    limit: int | None = None
    backend: str = "auto"
    engines: Path | None = None
    json: bool = False


def eval_(options: EvalOptions) -> None:
    """Evaluate a bundle, write the files to `options.out`, and print the figures; raises NanosegError."""
    _check_outputs(options)
    truth = read_coco_truth(options.annotations, options.images, options.limit)
    if options.prompts == "truth":
        check_masks(truth)
    exact = options.prompts == "truth" and options.backend != "tensorrt"
    resize: Resize = options.resize or ("nanosam" if exact else "cv2")
    with nanoseg.load(options.bundle, options.backend, resize=resize, engines=options.engines) as segmenter:
        bundle = segmenter.bundle
        evaluated = truth.present_labels or set(truth.labels)  # of crowds alone, or of nothing, what the file is about
        is_embedded = bundle.path == EMBEDDED_FOLDER / EMBEDDED_BUNDLE
        foreign = is_embedded and bool(evaluated) and not evaluated & set(bundle.labels)
        if foreign:
            note_machine_parts(bundle, str(options.images))
        iou = bundle.iou if options.iou is None else options.iou
        settings = EvalSettings(options.prompts, options.confidence, iou)
        run = _describe_run(options, segmenter, settings, resize)
        sigmas = oks_sigmas(truth, bundle) if options.prompts == "detected" else None
        if options.prompts == "detected" and bundle.keypoints is not None and not bundle.keypoints.sigmas:
            print_error(
                f"{bundle.path}: its keypoints have no sigmas and are not evaluated: export it with --keypoints"
            )
        results = _run(options, segmenter, truth, settings, run)
    evaluation = evaluate(truth, results, settings, bundle.confidence, sigmas)
    report = make_report(evaluation, bundle, run, note=DRAWN_PARTS if foreign else None)
    if options.out is not None:
        _write(options, evaluation, report, bundle.confidence)
    if options.json:
        print_json(report)
    else:
        print_report(report, None if options.out is None else options.out / PAGE)


def _describe_run(options: EvalOptions, segmenter: Segmenter, settings: EvalSettings, resize: Resize) -> dict[str, Any]:
    """Return what the results depend on, for the report and the log's key."""
    bundle = segmenter.bundle
    with write_errors(options.annotations):
        digests = {
            "bundle_sha256": sha256_of_file(bundle.path / MANIFEST),  # which has those of all its files
            "annotations_sha256": sha256_of_file(options.annotations),
        }
    return {
        **digests,
        "nanoseg": nanoseg.__version__,
        "images": str(options.images.resolve()),
        **asdict(settings),
        "resize": resize,
        "backend": segmenter.backend,
        "device": segmenter.device,
    }


def _run(
    options: EvalOptions, segmenter: Segmenter, truth: CocoTruth, settings: EvalSettings, run: dict[str, Any]
) -> dict[Any, Any]:
    """Return the results of all images, of which those in the log are not run again."""
    # A CPU's description has its number of threads, which changes nothing but rounding.
    key = {name: value for name, value in run.items() if name != "device" or segmenter.backend != "onnxruntime"}
    if options.out is not None:
        make_output_folder(options.out)
    with open_result_log(options.out and options.out / LOG, log_key(key)) as log:
        rest = sum(image.id not in log.results for image in truth.images)
        if rest < len(truth.images):
            count = plural(len(truth.images) - rest, "image")
            print_error(f"{options.out}: goes on behind {count} of an earlier run")
        bar = progress_bar(truth.annotations.name, rest, unit="images") if rest else nullcontext(lambda: None)
        with bar as advance:
            run_images(segmenter, truth, options.images, settings, log, advance)
        return {image.id: log.results[image.id] for image in truth.images}


def _write(options: EvalOptions, evaluation: Evaluation, report: dict[str, Any], confidence: float) -> None:
    assert options.out is not None
    detections = [one for results in evaluation.results.values() for one in results]
    objects = [{name: value for name, value in one._asdict().items() if name != "result"} for one in evaluation.objects]
    files = {
        DETECTIONS: encode_json(detections),
        OBJECTS: encode_json(objects),
        REPORT: encode_json(report, indent=True),
        PAGE: page(evaluation, report, options.images, confidence).encode(),
    }
    write_all_atomic({options.out / name: data for name, data in files.items()}, guard=write_errors)


def _check_outputs(options: EvalOptions) -> None:
    """Raise UsageError where a file cannot be written, or is the file of the annotations."""
    if options.out is None:
        return
    inputs = file_ids([options.annotations])
    for name in (LOG, REPORT, PAGE, DETECTIONS, OBJECTS):
        path = options.out / name
        check_writable(path)
        if file_ids([path]) & inputs:
            raise UsageError(f"--out: {path} is also the file of --annotations; give another folder")
