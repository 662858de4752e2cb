"""Masks and their prompts in one .npz file, for a later call to refine; numbers alone, no pickle."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.masks import Masks, best_per_prompt
from nanoseg.processing.prompts import LABELS, Prompts
from nanoseg.utils.read_file import open_file
from nanoseg.utils.zip_directory import TooLargeError, read_directory

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

MAX_BYTES = 1_000_000_000  # of saved masks, unpacked: 1,000 prompts with four masks each
# Name, dtype kind and number of dimensions of each array.
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
class SavedMasks:
    """N prompts and their M masks; M is 4 N where all four masks of each prompt were requested."""

    logits: np.ndarray  # (M, 4g, 4g) float32, over the encoder's square
    confidence: np.ndarray  # (M,) float32: the decoder's predicted IoU
    stability: np.ndarray  # (M,) float32 in [0, 1]
    prompt: np.ndarray  # (M,) int64: index of each mask's prompt
    prompts: np.ndarray  # (N, P, 3) float32: x, y in pixels of the image, and SAM's label
    size_hw: np.ndarray  # (2,) int64: the image's height and width
    picture: str  # sha256 of the image's pixels
    bundle: str  # name of the bundle that made them
    decoder: str  # sha256 of that bundle's decoder

    @classmethod
    def from_masks(cls, masks: Masks, prompts: Prompts, image: np.ndarray, bundle: Bundle) -> SavedMasks:
        """Return the masks that a segmenter of `bundle` returned for prompts on an (H, W, 3) uint8 image."""
        return cls(
            masks.logits,
            masks.confidence,
            masks.stability(),
            masks.prompt,
            np.concatenate([prompts.coords, prompts.labels[..., None]], 2),
            np.array(masks.geometry.frame_hw),
            image_sha256(image),
            bundle.name,
            bundle.networks["decoder"].sha256,
        )

    def best(self) -> np.ndarray:
        """Return the logits of each prompt's most confident mask, (N, 4g, 4g) float32."""
        return np.asarray(self.logits[best_per_prompt(self.confidence, self.prompt)])

    def to_npz(self) -> bytes:
        """Return the content of the .npz file."""
        file = io.BytesIO()
        np.savez(file, **vars(self))
        return file.getvalue()

    @classmethod
    def read(cls, path: Path) -> SavedMasks:
        """Read a file that `to_npz` made; raises UsageError, which names the file, for any other."""
        wanted = f"{path}: wanted an .npz file that nanoseg segment wrote"
        # Opened here, as numpy leaves the file of a damaged archive open.
        with open_file(path) as file:
            try:
                read_directory(file, MAX_BYTES)
                with np.load(file, allow_pickle=False) as arrays:
                    values: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
                    values |= {name: str(arrays[name]) for name in _TEXTS}
            except TooLargeError as error:
                raise UsageError(f"{path}: {error} of saved masks") from error
            except KeyError as error:
                raise UsageError(f"{wanted}: {error.args[0]}") from error
            except Exception as error:  # a damaged file makes zipfile, zlib, numpy and its tokenizer raise all kinds
                raise UsageError(f"{wanted}, got something else") from error
        saved = cls(**values)
        saved._check(path)
        return saved

    def _check(self, path: Path) -> None:
        for name, (kind, ndim) in _ARRAYS.items():
            array = getattr(self, name)
            if array.dtype.kind != kind or array.ndim != ndim:
                raise UsageError(
                    f"{path}: '{name}' wants {ndim} dimensions of dtype kind {kind}, got {array.dtype} {array.shape}"
                )
            if not np.isfinite(array).all():
                raise UsageError(f"{path}: '{name}' wants finite numbers; write it again with nanoseg segment --out")
        masks, prompts = len(self.logits), len(self.prompts)
        consistent = all(len(getattr(self, name)) == masks for name in ("confidence", "stability", "prompt"))
        complete = set(self.prompt.tolist()) == set(range(prompts))
        square = self.logits.shape[1] == self.logits.shape[2]
        if not (
            consistent and complete and square and self.prompts.shape[2] == 3 and len(self.size_hw) == 2 and prompts
        ):
            raise UsageError(f"{path}: its arrays do not fit together; write it again with nanoseg segment --out")
        xy, labels = self.prompts[..., :2], self.prompts[..., 2]
        if not np.isin(labels, LABELS).all():
            raise UsageError(f"{path}: 'prompts' wants labels from -2 to 3; write it again with nanoseg segment --out")
        height, width = self.size_hw.tolist()
        if (xy < 0).any() or (xy > (width, height)).any():
            raise UsageError(f"{path}: 'prompts' lie outside its picture, which is {width} x {height} pixels")


def image_sha256(image: np.ndarray) -> str:
    """Return the sha256 of an image's pixels, which identifies it independently of its file name."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
