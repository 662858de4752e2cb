"""Keypoint sets: names, OKS sigmas and skeletons of COCO's persons, CrowdPose, AnimalPose, and of files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from nanoseg.errors import BundleError, UsageError
from nanoseg.utils.toml import invalid_key, read_toml

METADATA = "keypoints"  # key of a detector's metadata, whose value is a KeypointSet as JSON
Sigma = Annotated[float, msgspec.Meta(gt=0)]
Index = Annotated[int, msgspec.Meta(ge=0)]


class KeypointSet(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """[keypoints]: the J keypoints of every object."""

    names: Annotated[list[str], msgspec.Meta(min_length=1)]
    sigmas: list[Sigma] = []  # of OKS, as pycocotools' kpt_oks_sigmas; empty: not known
    skeleton: list[tuple[Index, Index]] = []  # the lines between keypoints, as indices of `names`

    def problem(self) -> str:
        """Return what does not fit together, the key first; an empty string where all does."""
        count = len(self.names)
        if self.sigmas and len(self.sigmas) != count:
            return f"sigmas: wanted {count}, one a name, got {len(self.sigmas)}"
        if beyond := [each for each in self.skeleton if max(each) >= count]:
            return f"skeleton: wanted pairs of indices from 0 to {count - 1}, got {list(beyond[0])}"
        return ""


def _pairs(names: Sequence[str], lines: str) -> list[tuple[int, int]]:
    """Return the indices of lines such as "left_hip-left_knee left_knee-left_ankle"."""
    ends = [line.split("-") for line in lines.split()]
    return [(names.index(first), names.index(second)) for first, second in ends]


_COCO_NAMES = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
]
_CROWD_NAMES = [*_COCO_NAMES[5:], "head", "neck"]
_ANIMAL_NAMES = [
    *("left_eye", "right_eye", "nose", "left_ear", "right_ear"),
    *(
        f"{side}_{leg}_{joint}"
        for joint in ("elbow", "knee", "paw")
        for leg in ("front", "back")
        for side in ("left", "right")
    ),
    *("throat", "withers", "tailbase"),
]
_LIMBS = (
    "left_ankle-left_knee left_knee-left_hip right_ankle-right_knee right_knee-right_hip left_hip-right_hip "
    "left_shoulder-left_hip right_shoulder-right_hip left_shoulder-right_shoulder left_shoulder-left_elbow "
    "right_shoulder-right_elbow left_elbow-left_wrist right_elbow-right_wrist "
)
# The published sets. AnimalPose publishes no sigmas: super-gradients, which trains on it, takes these.
KEYPOINT_SETS = {
    "coco": KeypointSet(
        _COCO_NAMES,
        [.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089],
        _pairs(
            _COCO_NAMES,
            _LIMBS + "left_eye-right_eye nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear "
            "left_ear-left_shoulder right_ear-right_shoulder",
        ),
    ),
    "crowdpose": KeypointSet(
        _CROWD_NAMES,
        [.079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089, .079, .079],
        _pairs(_CROWD_NAMES, _LIMBS + "head-neck right_shoulder-neck left_shoulder-neck"),
    ),
    "animalpose": KeypointSet(
        _ANIMAL_NAMES,
        [0.1] * 20,
        _pairs(
            _ANIMAL_NAMES,
            "left_eye-right_eye left_eye-nose right_eye-nose left_eye-left_ear right_eye-right_ear nose-throat "
            "withers-tailbase "
            + " ".join(
                f"{end}_elbow-{end}_knee {end}_knee-{end}_paw"
                for end in ("left_front", "right_front", "left_back", "right_back")
            ),
        ),
    ),
}  # fmt: skip
# What such keypoints are of: the one class of a detector of poses.
OBJECTS = {"coco": "person", "crowdpose": "person", "animalpose": "animal"}
OBJECT = "object"


def keypoint_set_of(count: int) -> str | None:
    """Return the name of the published set with this number of keypoints, if there is one."""
    return next((name for name, each in KEYPOINT_SETS.items() if len(each.names) == count), None)


def numbered(count: int) -> KeypointSet:
    """Return a set without names."""
    return KeypointSet([str(number) for number in range(count)])


def read_keypoint_set(text: str) -> KeypointSet:
    """Return a published set by its name, or that of a TOML file with names, and where known sigmas and skeleton.

    Raises:
        UsageError: There is no such set, or the file cannot be read or does not fit.
    """
    if text in KEYPOINT_SETS:
        return KEYPOINT_SETS[text]
    if not os.path.isfile(text):
        known = ", ".join(KEYPOINT_SETS)
        raise UsageError(f"--keypoints: wanted {known} or a TOML file, got {text}, which is none of them and no file")
    found = read_toml(Path(text), KeypointSet)
    if problem := found.problem():
        raise UsageError(f"--keypoints: {text}: {problem}")
    return found


def keypoint_set_to_json(keypoints: KeypointSet) -> str:
    """Return the value of METADATA."""
    return json.dumps(msgspec.to_builtins(keypoints), ensure_ascii=False)


def keypoint_set_from_json(text: str, where: str) -> KeypointSet:
    """Return the set in the value of METADATA; raises BundleError, which names `where`, for another value."""
    try:
        found = msgspec.json.decode(text, type=KeypointSet)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = invalid_key(error) if isinstance(error, msgspec.ValidationError) else "no JSON"
        raise BundleError(f"{where}: {METADATA} in its metadata: {problem}; export it anew") from error
    if problem := found.problem():
        raise BundleError(f"{where}: {METADATA} in its metadata: {problem}; export it anew")
    return found
