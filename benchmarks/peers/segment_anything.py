"""segment-anything's predictor (its package of PyPI) against nanoseg, on the same networks and the same boxes.

Its SamPredictor resizes with Pillow, normalises and pads with torch, and stretches each mask with torch, twice, as it
always does; its encoder and decoder are sessions of ONNX Runtime with as many threads as nanoseg's: the same encoder
file, and the same decoder weights exported plainly. nanoseg embeds the frame and segments all boxes. Both end with one
bool mask of the whole frame for each box. There is no detector.

`ratio` is against `predict`, called once a box with multimask_output=False as its notebook does it, which stretches one
mask; `ratio_batched` against `predict_torch` with all boxes at once, where its decoder repeats the image for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from decoder import OUTPUTS, open_session, random_inputs
from full_size_bundle import networks
from mask_objects import usual_boxes
from nanoseg.backends.onnxruntime.session import available_cpus
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.processing.geometry import SAM_MEAN, SAM_STD
from nanoseg.types import Frame
from peers.settings import Settings
from peers.turns import compare, medians, ratio, take_turns, timed, totals
from plain_decoder import PlainDecoder


class Encoder:
    """An engine in place of Sam's image encoder."""

    def __init__(self, engine: Any, img_size: int) -> None:
        self.engine, self.img_size = engine, img_size

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the embedding (1, 256, g, g) of a prepared image (1, 3, S, S)."""
        return torch.from_numpy(self.engine({"image": image.numpy()})["image_embeddings"])


class PromptEncoder:
    """Hands boxes on, as the decoder's file takes them."""

    def __call__(self, points: None, boxes: torch.Tensor, masks: None) -> tuple[torch.Tensor, None]:
        """Return the boxes (N, 4)."""
        return boxes, None

    def get_dense_pe(self) -> None:
        """It is in the decoder's file."""


class Decoder:
    """A session of ONNX Runtime in place of Sam's mask decoder."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(
        self, image_embeddings: torch.Tensor, sparse_prompt_embeddings: torch.Tensor, multimask_output: bool, **_: None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (N, M, 4g, 4g) and predicted IoU (N, M): three masks, or the first one of all alone."""
        coords = sparse_prompt_embeddings.reshape(-1, 2, 2).numpy()
        labels = np.tile(np.array([2, 3], np.float32), (len(coords), 1))
        feeds = {"image_embeddings": image_embeddings.numpy(), "point_coords": coords, "point_labels": labels}
        masks, iou = (torch.from_numpy(out) for out in self.session.run(OUTPUTS, feeds))
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return masks[:, chosen], iou[:, chosen]


def predictor(engine: Any, session: Any, encoder_px: int) -> SamPredictor:
    """Return segment-anything's predictor over these networks."""
    sam = Sam(Encoder(engine, encoder_px), PromptEncoder(), Decoder(session), list(SAM_MEAN), list(SAM_STD))
    return SamPredictor(sam)


def predict_each(predictor: SamPredictor, frame: Frame, boxes: np.ndarray) -> np.ndarray:
    """Return masks (N, H, W) of one call a box."""
    predictor.set_image(frame.image, "BGR")
    return np.stack([predictor.predict(box=box, multimask_output=False)[0][0] for box in boxes])


def predict_together(predictor: SamPredictor, frame: Frame, boxes: np.ndarray) -> np.ndarray:
    """Return masks (N, H, W) of one call for all boxes."""
    predictor.set_image(frame.image, "BGR")
    scaled = predictor.transform.apply_boxes_torch(torch.from_numpy(boxes), frame.image.shape[:2])
    masks, _, _ = predictor.predict_torch(None, None, scaled, multimask_output=False)
    return np.asarray(masks[:, 0].numpy())


def sessions(folder: Path, objects: int, encoder_px: int) -> list[Any]:
    """Export the plain decoder for one box and for any number of them, and open both."""
    decoder = MaskDecoder(encoder_px)
    decoder.load_state_dict(networks()["decoder"].state_dict())
    module = PlainDecoder(decoder.eval())
    return [
        open_session(
            module, random_inputs(count, encoder_px)[0], folder / f"sam-{count}.onnx", count > 1, available_cpus()
        )
        for count in (1, max(2, objects))
    ]


def measure(settings: Settings) -> dict[str, Any]:
    """Return medians in milliseconds, and ratios."""
    torch.set_num_threads(available_cpus())
    frames, boxes = settings.frames(), usual_boxes(settings.objects, settings.size_wh)
    with settings.segmenter() as segmenter:
        px, engines = segmenter.bundle.encoder_px, segmenter.pipeline.engines  # type: ignore[attr-defined]
        one, many = (predictor(engines["embed"], each, px) for each in sessions(settings.work, settings.objects, px))

        def ours(index: int) -> np.ndarray:
            return segmenter.segment(segmenter.embed(frames[index % len(frames)]), boxes=boxes).full()

        sides = {
            "ours": timed(ours),
            "predict": timed(lambda index: predict_each(one, frames[index % len(frames)], boxes)),
            "predict_torch": timed(lambda index: predict_together(many, frames[index % len(frames)], boxes)),
        }
        spent = take_turns(sides, settings.rounds)
        same = np.mean(predict_each(one, frames[0], boxes) == predict_together(many, frames[0], boxes))
        together = ratio(totals(spent["ours"]), totals(spent["predict_torch"]), "ratio_batched")
        return {
            **compare(spent, "ours", "predict"),
            "predict_torch_ms": medians(spent["predict_torch"])["total"],
            **together,
            "objects": settings.objects,
            "same_pixels_of_its_ways": round(float(same), 5),
        }
