"""`nanoseg segment`: the masks of prompts on one image, as files, JSON or a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nanoseg
from nanoseg.commands.notes import note_machine_parts
from nanoseg.commands.segment.prompt_flags import PromptFlags
from nanoseg.errors import UsageError, needs
from nanoseg.processing.masks import Crop, Masks, RasterMasks
from nanoseg.processing.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT, Prompts
from nanoseg.sinks.saved_masks import SavedMasks
from nanoseg.sources.images import read_image
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_all_atomic, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.names import printable_path
from nanoseg.utils.terminal import plural, print_json, print_table
from nanoseg.utils.timing import Stopwatch

with needs("OpenCV", "opencv"):
    import cv2


@dataclass(frozen=True)
class SegmentOptions:
    """The flags of `nanoseg segment`; coordinates are the flags' text."""

    image: Path
    bundle: str = "parts"
    boxes: Sequence[str] = ()  # each an object of its own
    points: Sequence[str] = ()  # these and the background points are of one object
    background: Sequence[str] = ()
    mask_from: Path | None = None
    out: Path | None = None
    all_masks: bool = False
    max_pixels: int = MAX_PIXELS
    json: bool = False
    backend: str = "auto"
    engines: Path | None = None  # folder of built engines


def segment_image(options: SegmentOptions) -> None:
    """Segment an image, write files to `options.out`, and print JSON or a table; raises NanosegError."""
    flags = PromptFlags(options.boxes, options.points, options.background, options.mask_from)
    image = read_image(options.image, options.max_pixels)
    # Printable, as a name that is not UTF-8 cannot be written as JSON.
    frame = Frame(image, captured_ns=time.time_ns(), name=printable_path(options.image))
    prompts = flags.prompts(frame.image)
    # Everything that can be checked without the networks is checked before they are loaded.
    files = None
    if options.out is not None:
        files = _OutputFiles(options.out, options.image, len(prompts) * (4 if options.all_masks else 1))
    with nanoseg.load(options.bundle, options.backend, engines=options.engines) as segmenter:
        flags.check_bundle(segmenter.bundle)
        note_machine_parts(segmenter.bundle, frame.name)
        segmenter.check(prompts, all_masks=options.all_masks)
        if files is not None:
            make_output_folder(files.folder)
        watch = Stopwatch()
        with watch.stage("embed"):
            embedding = segmenter.embed(frame)
        with watch.stage("segment"):
            masks = segmenter.segment(embedding, prompts=prompts, all_masks=options.all_masks)
        latency_ms = watch.stop()
    raster = RasterMasks(masks)
    bounds = [_bounds(raster.crop(index)) for index in range(len(raster))]
    if files is not None:
        detections = _to_detections(raster, [box for box, _ in bounds])
        saved = SavedMasks.from_masks(raster, prompts, frame.image, segmenter.bundle)
        files.write(frame, detections, raster, prompts, saved)
    result = _result(options, frame, raster, bounds, prompts, files, latency_ms)
    if options.json:
        print_json(result)
    else:
        _print_result(result)


class _OutputFiles:
    """The files of one image in the output folder: NAME-annotated.png, NAME-mask-0.png and so on, NAME.npz.

    They replace those of an earlier run, whose further masks are removed. NAME is without its suffix, so photo.jpg and
    photo.png replace each other's files, too.
    """

    def __init__(self, folder: Path, source: Path, masks: int) -> None:
        """Raise UsageError where a file would overwrite `source`, DependencyError without the drawing library."""
        self.folder, self._name, self._sources = folder, source.stem, file_ids([source])
        self.annotated = folder / f"{source.stem}-annotated.png"
        self.masks = [self._mask(index) for index in range(masks)]
        self.saved = folder / f"{source.stem}.npz"
        from nanoseg.sinks.annotate import Annotator, draw_prompts

        self._annotate, self._draw_prompts = Annotator(), draw_prompts
        for path in (self.annotated, *self.masks, self.saved):
            refuse_overwriting(path, self._sources)

    def write(self, frame: Frame, detections: Detections, masks: Masks, prompts: Prompts, saved: SavedMasks) -> None:
        """Write all files or none, with `detections` annotated; raises UsageError where one cannot be written."""
        files = {self.saved: saved.to_npz()}
        height, width = frame.size_hw
        for index, path in enumerate(self.masks):
            mask = np.zeros((height, width), np.uint8)
            left, top, crop = masks.crop(index)
            mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop * np.uint8(255)
            files[path] = _encode_png(path, mask)
        files[self.annotated] = _encode_png(
            self.annotated, self._draw_prompts(self._annotate(frame, detections), prompts)
        )
        write_all_atomic(files, guard=write_errors)
        self._remove_masks_from(len(self.masks))

    def _remove_masks_from(self, index: int) -> None:
        # Up to the first gap: an earlier run left none, and a file beyond it is not one of ours.
        while (path := self._mask(index)).is_file():
            if not file_ids([path]) & self._sources:
                with write_errors(path):
                    path.unlink()
            index += 1

    def _mask(self, index: int) -> Path:
        return self.folder / f"{self._name}-mask-{index}.png"


def _encode_png(path: Path, image: np.ndarray) -> bytes:
    encoded, data = cv2.imencode(".png", image)
    if not encoded:
        raise UsageError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels cannot be written as PNG")
    return bytes(data)


def _bounds(crop: Crop) -> tuple[list[int] | None, int]:
    """Return a mask's box (left, top, right, bottom) and area in pixels; None and 0 for an empty one."""
    left, top, mask = crop
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None, 0
    corners = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    return [int(side) for side in corners], int(np.count_nonzero(mask))


def _to_detections(masks: Masks, boxes: Sequence[list[int] | None]) -> Detections:
    """Return the masks that are not empty as detections to annotate; each prompt has a colour of its own."""
    indices = np.array([index for index, box in enumerate(boxes) if box], np.intp)
    return Detections(
        xyxy=np.array([box for box in boxes if box], np.float32).reshape(-1, 4),
        confidence=masks.confidence[indices],
        class_id=masks.prompt[indices],
        class_name=np.array([f"mask {index}" for index in indices], np.str_),
        mask_confidence=masks.confidence[indices],
        masks=masks.select(indices),
    )


def _result(
    options: SegmentOptions,
    frame: Frame,
    masks: Masks,
    bounds: Sequence[tuple[list[int] | None, int]],
    prompts: Prompts,
    files: _OutputFiles | None,
    latency_ms: dict[str, float],
) -> dict[str, Any]:
    """Return what --json prints."""
    stability, encoded = masks.stability(), masks.rles()
    entries = []
    for index, (box, area_px) in enumerate(bounds):
        entries.append(
            {
                "prompt": int(masks.prompt[index]),
                "confidence": round(float(masks.confidence[index]), 6),
                "stability": round(float(stability[index]), 6),
                "xyxy": box,
                "area_px": area_px,
                "mask": encoded[index],
                "file": None if files is None else str(files.masks[index]),
            }
        )
    return {
        "image": frame.name,
        "size": list(frame.size_hw),
        "bundle": options.bundle,
        "latency_ms": {stage: round(spent, 3) for stage, spent in latency_ms.items()},
        "prompts": [_prompt_entry(prompts, index) for index in range(len(prompts))],
        "masks": entries,
        "annotated": None if files is None else str(files.annotated),
        "answer": None if files is None else str(files.saved),
    }


def _prompt_entry(prompts: Prompts, index: int) -> dict[str, Any]:
    coords, labels = prompts.coords[index], prompts.labels[index]
    corners = coords[np.isin(labels, (TOP_LEFT, BOTTOM_RIGHT))]
    points = np.isin(labels, (FOREGROUND, BACKGROUND))
    return {
        "box": corners.ravel().tolist() if len(corners) else None,
        "points": coords[points].tolist(),
        "labels": labels[points].astype(int).tolist(),
        "mask": prompts.has_mask is not None and bool(prompts.has_mask[index]),
    }


def _print_result(result: dict[str, Any]) -> None:
    rows = []
    for index, mask in enumerate(result["masks"]):
        left, top, right, bottom = mask["xyxy"] or (0, 0, 0, 0)
        rows.append(
            (
                f"mask {index}",
                f"prompt {mask['prompt']}  confidence {mask['confidence']:.3f}  stability {mask['stability']:.3f}  "
                + (f"{mask['area_px']} px in {left},{top},{right},{bottom}" if mask["xyxy"] else "empty"),
            )
        )
    if result["answer"] is not None:
        last = f" to {len(rows) - 1}" if len(rows) > 1 else ""
        rows += [
            ("annotated", result["annotated"]),
            ("masks", result["masks"][0]["file"] + last),
            ("saved", result["answer"]),
        ]
    count = plural(len(result["masks"]), "mask")
    print_table(f"{result['image']}: {count}, {result['latency_ms']['total']:.1f} ms", rows)
