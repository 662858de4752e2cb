"""`nanoseg segment`: what somebody points at, cut out of one picture."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nanoseg
from nanoseg.commands.segment.prompt_flags import Typed
from nanoseg.errors import UsageError, needs
from nanoseg.processing.masks import Crop, Masks, RasterMasks
from nanoseg.processing.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT, Prompts
from nanoseg.sinks.saved_masks import SavedMasks
from nanoseg.sources.images import read_image
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_all_atomic, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.terminal import plural, print_json, print_table
from nanoseg.utils.timing import Stopwatch

with needs("OpenCV", "opencv"):
    import cv2


@dataclass(frozen=True)
class SegmentOptions:
    """What to cut out of which picture, and where it goes; coordinates are text, as they were typed."""

    image: Path
    bundle: str = "parts"
    boxes: Sequence[str] = ()  # each an object of its own
    points: Sequence[str] = ()  # all of these, and of those after them, are one object
    background: Sequence[str] = ()
    mask_from: Path | None = None
    out: Path | None = None
    all_masks: bool = False
    max_pixels: int = MAX_PIXELS
    json: bool = False
    backend: str = "auto"
    engines: Path | None = None  # the folder of built ones


def segment_image(options: SegmentOptions) -> None:
    """Do it: files to `options.out`, JSON or a table to stdout. Raises NanosegError."""
    typed = Typed(options.boxes, options.points, options.background, options.mask_from)
    # A name that is not UTF-8 could not be printed.
    name = os.fsencode(options.image).decode("utf-8", "replace")
    frame = Frame(read_image(options.image, options.max_pixels), captured_ns=time.time_ns(), name=name)
    prompts = typed.prompts(frame.image)
    # Whatever can be refused is, before the networks are loaded.
    files = (
        None
        if options.out is None
        else _Files(options.out, options.image, len(prompts) * (4 if options.all_masks else 1))
    )
    with nanoseg.load(options.bundle, options.backend, engines=options.engines) as segmenter:
        typed.check_bundle(segmenter.bundle)
        segmenter.check(prompts, all_masks=options.all_masks)
        if files is not None:
            make_output_folder(files.folder)
        watch = Stopwatch()
        with watch.stage("embed"):
            embedding = segmenter.embed(frame)
        with watch.stage("segment"):
            masks = segmenter.segment(embedding, prompts=prompts, all_masks=options.all_masks)
        latency_ms = watch.stop()
    made = RasterMasks(masks)
    bounds = [_bounds(made.crop(index)) for index in range(len(made))]
    if files is not None:
        found = _as_found(made, [box for box, _ in bounds])
        files.write(frame, found, made, prompts, SavedMasks.from_masks(made, prompts, frame.image, segmenter.bundle))
    told = _describe(options, frame, made, bounds, prompts, files, latency_ms)
    if options.json:
        print_json(told)
    else:
        _tell(told)


class _Files:
    """What goes into the folder: NAME-annotated.png, NAME-mask-0.png and so on, NAME.npz.

    They take the place of an earlier run's, whose further masks go. NAME is without its suffix: photo.jpg and photo.png
    take each other's place too.
    """

    def __init__(self, folder: Path, source: Path, masks: int) -> None:
        """Raises UsageError where a file would go over `source`, DependencyError where nothing can be drawn."""
        self.folder, self._name, self._sources = folder, source.stem, file_ids([source])
        self.annotated = folder / f"{source.stem}-annotated.png"
        self.masks = [self._mask(index) for index in range(masks)]
        self.answer = folder / f"{source.stem}.npz"
        from nanoseg.sinks.annotate import Annotator, draw_prompts

        self._annotate, self._draw_prompts = Annotator(), draw_prompts
        for path in (self.annotated, *self.masks, self.answer):
            refuse_overwriting(path, self._sources)

    def write(self, frame: Frame, found: Detections, masks: Masks, prompts: Prompts, answer: SavedMasks) -> None:
        """All files in one step, `found` painted; raises UsageError where one cannot be written."""
        files = {self.answer: answer.to_npz()}
        height, width = frame.size_hw
        for index, path in enumerate(self.masks):
            whole = np.zeros((height, width), np.uint8)
            left, top, crop = masks.crop(index)
            whole[top : top + crop.shape[0], left : left + crop.shape[1]] = crop * np.uint8(255)
            files[path] = _png(path, whole)
        files[self.annotated] = _png(self.annotated, self._draw_prompts(self._annotate(frame, found), prompts))
        write_all_atomic(files, guard=write_errors)
        self._remove_masks_from(len(self.masks))

    def _remove_masks_from(self, index: int) -> None:
        # Up to the first gap: an earlier run left none, and what lies beyond one is not ours.
        while (path := self._mask(index)).is_file():
            if not file_ids([path]) & self._sources:
                with write_errors(path):
                    path.unlink()
            index += 1

    def _mask(self, index: int) -> Path:
        return self.folder / f"{self._name}-mask-{index}.png"


def _png(path: Path, image: np.ndarray) -> bytes:
    good, data = cv2.imencode(".png", image)
    if not good:
        raise UsageError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels cannot be written as PNG")
    return bytes(data)


def _bounds(crop: Crop) -> tuple[list[int] | None, int]:
    """The box around a mask, left, top, right, bottom in pixels, and its area; None and 0 for an empty one."""
    left, top, mask = crop
    across, down = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(across):
        return None, 0
    corners = (left + across[0], top + down[0], left + across[-1] + 1, top + down[-1] + 1)
    return [int(side) for side in corners], int(np.count_nonzero(mask))


def _as_found(masks: Masks, boxes: Sequence[list[int] | None]) -> Detections:
    """The masks that are not empty, as the painter takes them; each prompt has a colour of its own."""
    some = np.array([index for index, box in enumerate(boxes) if box], np.intp)
    return Detections(
        xyxy=np.array([box for box in boxes if box], np.float32).reshape(-1, 4),
        confidence=masks.confidence[some],
        class_id=masks.prompt[some],
        class_name=np.array([f"mask {index}" for index in some], np.str_),
        mask_confidence=masks.confidence[some],
        masks=masks.select(some),
    )


def _describe(
    options: SegmentOptions,
    frame: Frame,
    masks: Masks,
    bounds: Sequence[tuple[list[int] | None, int]],
    prompts: Prompts,
    files: _Files | None,
    latency_ms: dict[str, float],
) -> dict[str, Any]:
    """What --json prints."""
    stability = masks.stability()
    told = []
    for index, (box, area_px) in enumerate(bounds):
        told.append(
            {
                "prompt": int(masks.prompt[index]),
                "confidence": round(float(masks.confidence[index]), 6),
                "stability": round(float(stability[index]), 6),
                "xyxy": box,
                "area_px": area_px,
                "mask": masks.rle(index),
                "file": None if files is None else str(files.masks[index]),
            }
        )
    return {
        "image": frame.name,
        "size": list(frame.size_hw),
        "bundle": options.bundle,
        "latency_ms": {stage: round(spent, 3) for stage, spent in latency_ms.items()},
        "prompts": [_describe_prompt(prompts, index) for index in range(len(prompts))],
        "masks": told,
        "annotated": None if files is None else str(files.annotated),
        "answer": None if files is None else str(files.answer),
    }


def _describe_prompt(prompts: Prompts, index: int) -> dict[str, Any]:
    coords, labels = prompts.coords[index], prompts.labels[index]
    corners = coords[np.isin(labels, (TOP_LEFT, BOTTOM_RIGHT))]
    spots = np.isin(labels, (FOREGROUND, BACKGROUND))
    return {
        "box": corners.ravel().tolist() if len(corners) else None,
        "points": coords[spots].tolist(),
        "labels": labels[spots].astype(int).tolist(),
        "mask": prompts.has_mask is not None and bool(prompts.has_mask[index]),
    }


def _tell(told: dict[str, Any]) -> None:
    rows = []
    for index, mask in enumerate(told["masks"]):
        left, top, right, bottom = mask["xyxy"] or (0, 0, 0, 0)
        rows.append(
            (
                f"mask {index}",
                f"prompt {mask['prompt']}  confidence {mask['confidence']:.3f}  stability {mask['stability']:.3f}  "
                + (f"{mask['area_px']} px in {left},{top},{right},{bottom}" if mask["xyxy"] else "empty"),
            )
        )
    if told["answer"] is not None:
        last = f" to {len(rows) - 1}" if len(rows) > 1 else ""
        rows += [("picture", told["annotated"]), ("masks", told["masks"][0]["file"] + last), ("answer", told["answer"])]
    count = plural(len(told["masks"]), "mask")
    print_table(f"{told['image']}: {count}, {told['latency_ms']['total']:.1f} ms", rows)
