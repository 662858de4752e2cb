"""A segmenter's answer to prompts as one .npz file, for the next call to refine; numbers alone, no pickle."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.masks import Masks, best_of
from nanoseg.processing.prompts import LABELS, Prompts

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

# Name, kind of number and number of sides of each array.
_ARRAYS = {
    "logits": ("f", 3),
    "confidence": ("f", 1),
    "stability": ("f", 1),
    "prompt": ("i", 1),
    "prompts": ("f", 3),
    "size_hw": ("i", 1),
}
_TEXTS = ("picture", "bundle", "decoder")


@dataclass(frozen=True, eq=False)
class Answer:
    """N prompts and the M masks that answer them; M is 4 N where all masks were asked for."""

    logits: np.ndarray  # (M, 4g, 4g) float32, over the encoder's square
    confidence: np.ndarray  # (M,) float32: the decoder's predicted IoU
    stability: np.ndarray  # (M,) float32 in [0, 1]
    prompt: np.ndarray  # (M,) int64: the prompt that each mask answers
    prompts: np.ndarray  # (N, P, 3) float32: x, y in pixels of the picture, and SAM's label
    size_hw: np.ndarray  # (2,) int64: the picture's height and width
    picture: str  # sha256 of its pixels
    bundle: str  # name of the bundle that answered
    decoder: str  # sha256 of that bundle's decoder

    @classmethod
    def of(cls, masks: Masks, prompts: Prompts, image: np.ndarray, bundle: Bundle) -> Answer:
        """What a segmenter of `bundle` gave for these prompts on `image`, (H, W, 3) uint8."""
        return cls(
            masks.logits,
            masks.confidence,
            masks.stability(),
            masks.prompt,
            np.concatenate([prompts.coords, prompts.labels[..., None]], 2),
            np.array(masks.geometry.frame_hw),
            picture_sha256(image),
            bundle.name,
            bundle.networks["decoder"].sha256,
        )

    def best(self) -> np.ndarray:
        """The logits of each prompt's most confident mask, (N, 4g, 4g)."""
        return np.asarray(self.logits[best_of(self.confidence, self.prompt)])

    def npz(self) -> bytes:
        """The file's content."""
        file = io.BytesIO()
        np.savez(file, **vars(self))
        return file.getvalue()

    @classmethod
    def read(cls, path: Path) -> Answer:
        """A file of what `npz` gave; raises UsageError, which names it, for any other."""
        try:
            # Opened here: numpy leaves the file of a damaged archive open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                values: dict[str, Any] = {name: file[name] for name in _ARRAYS}
                values |= {name: str(file[name]) for name in _TEXTS}
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
        except KeyError as error:
            raise UsageError(f"{path}: wanted an .npz file that nanoseg segment wrote: {error.args[0]}") from error
        except Exception as error:  # a damaged file makes zipfile, zlib, numpy and its tokenizer raise all kinds
            raise UsageError(f"{path}: wanted an .npz file that nanoseg segment wrote, got something else") from error
        answer = cls(**values)
        answer._check(path)
        return answer

    def _check(self, path: Path) -> None:
        for name, (kind, sides) in _ARRAYS.items():
            array = getattr(self, name)
            if array.dtype.kind != kind or array.ndim != sides:
                raise UsageError(f"{path}: '{name}' wants {sides} sides of {kind}, got {array.dtype} {array.shape}")
            if not np.isfinite(array).all():
                raise UsageError(f"{path}: '{name}' wants finite numbers; write it again with nanoseg segment --out")
        masks, prompts = len(self.logits), len(self.prompts)
        whole = all(len(getattr(self, name)) == masks for name in ("confidence", "stability", "prompt"))
        known = set(self.prompt.tolist()) == set(range(prompts))
        square = self.logits.shape[1] == self.logits.shape[2]
        if not (whole and known and square and self.prompts.shape[2] == 3 and len(self.size_hw) == 2 and prompts):
            raise UsageError(f"{path}: its arrays do not fit together; write it again with nanoseg segment --out")
        xy, labels = self.prompts[..., :2], self.prompts[..., 2]
        if not np.isin(labels, LABELS).all():
            raise UsageError(f"{path}: 'prompts' wants labels from -2 to 3; write it again with nanoseg segment --out")
        height, width = self.size_hw.tolist()
        if (xy < 0).any() or (xy > (width, height)).any():
            raise UsageError(f"{path}: 'prompts' lie outside its picture, which is {width} x {height} pixels")


def picture_sha256(image: np.ndarray) -> str:
    """What tells pictures of one size apart, whatever their files are called."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
