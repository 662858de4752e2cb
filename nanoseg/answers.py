"""A segmenter's answer to prompts as one .npz file, for the next call to refine; numbers alone, no pickle."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.masks import Masks
from nanoseg.prompts import Prompts
from nanoseg.sinks import write_whole

# Name, kind of number and number of sides of each array.
_ARRAYS = {
    "logits": ("f", 3),
    "confidence": ("f", 1),
    "stability": ("f", 1),
    "prompt": ("i", 1),
    "prompts": ("f", 3),
    "size_hw": ("i", 1),
}


@dataclass(frozen=True, eq=False)
class Answer:
    """N prompts and the M masks that answer them; M is 4 N where all masks were asked for."""

    logits: np.ndarray  # (M, 4g, 4g) float32, over the encoder's square
    confidence: np.ndarray  # (M,) float32: the decoder's predicted IoU
    stability: np.ndarray  # (M,) float32 in [0, 1]
    prompt: np.ndarray  # (M,) int64: the prompt that each mask answers
    prompts: np.ndarray  # (N, P, 3) float32: x, y in pixels of the picture, and SAM's label
    size_hw: np.ndarray  # (2,) int64: the picture's height and width

    @classmethod
    def of(cls, masks: Masks, prompts: Prompts) -> Answer:
        """What `segmenter.segment` gave for these prompts."""
        return cls(
            masks.logits,
            masks.confidence,
            masks.stability(),
            masks.prompt,
            np.concatenate([prompts.coords, prompts.labels[..., None]], 2),
            np.array(masks.geometry.frame_hw),
        )

    def best(self) -> np.ndarray:
        """The logits of each prompt's most confident mask, (N, 4g, 4g)."""
        each = [np.flatnonzero(self.prompt == prompt) for prompt in range(len(self.prompts))]
        return self.logits[[masks[self.confidence[masks].argmax()] for masks in each]]

    def save(self, path: Path) -> None:
        """Write the file in one step; raises UsageError where it cannot be written."""
        file = io.BytesIO()
        np.savez(file, **{name: getattr(self, name) for name in _ARRAYS})
        write_whole(path, file.getvalue())

    @classmethod
    def read(cls, path: Path) -> Answer:
        """A file that `save` wrote; raises UsageError, which names it, for any other."""
        try:
            # Opened here: numpy leaves the file of a damaged archive open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS}
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
        except KeyError as error:
            raise UsageError(f"{path}: wanted an .npz file that nanoseg segment wrote: {error.args[0]}") from error
        except Exception as error:  # a damaged file makes zipfile, zlib, numpy and its tokenizer raise all kinds
            raise UsageError(f"{path}: wanted an .npz file that nanoseg segment wrote, got something else") from error
        answer = cls(**arrays)
        answer._check(path)
        return answer

    def _check(self, path: Path) -> None:
        for name, (kind, sides) in _ARRAYS.items():
            array = getattr(self, name)
            if array.dtype.kind != kind or array.ndim != sides:
                raise UsageError(f"{path}: '{name}' wants {sides} sides of {kind}, got {array.dtype} {array.shape}")
        masks, prompts = len(self.logits), len(self.prompts)
        whole = all(len(getattr(self, name)) == masks for name in ("confidence", "stability", "prompt"))
        known = set(self.prompt.tolist()) == set(range(prompts))
        if not (whole and known and self.prompts.shape[2] == 3 and len(self.size_hw) == 2 and prompts):
            raise UsageError(f"{path}: its arrays do not fit together; write it again with nanoseg segment --out")
