"""Layouts of trainers' checkpoints: where the weights are, and the description of the network beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nanoseg.bundle.labels import ordered_names
from nanoseg.processing.geometry import LETTERBOX_VALUE, Padding

_HOLDERS: tuple[tuple[str, ...], ...] = (
    # Averaged weights first: they are the ones to deploy.
    ("ema_net",),  # super-gradients
    ("ema_state_dict",),  # modern-yolonas, beside Lightning's own
    ("ema", "ema_state_dict"),  # modern-yolonas before it had Lightning
    ("net",),  # super-gradients
    ("model",),  # nanoseg, NanoSAM
    ("model_state_dict",),  # modern-yolonas before it had Lightning
    ("state_dict",),  # Lightning
)
HOLDER_NAMES = ", ".join(".".join(keys) for keys in _HOLDERS)
# Of nn.DataParallel, torch.compile, weight averaging, LightningModule, super-gradients.
_PREFIXES = ("module.", "_orig_mod.", "ema_model.", "model.", "net.")
_AVERAGED = "n_averaged"  # how many states an AveragedModel has seen
_LIGHTNING = "pytorch-lightning_version"
_LABEL_KEYS = ("labels", "class_names", "names", "classes")
_MAX_VALUE = 255.0  # of a pixel as it is read


@dataclass(frozen=True)
class PixelFormat:
    """Pixel format of a network's input."""

    bgr: bool = False  # else RGB
    white: float = 1.0  # value of full brightness
    shifted: bool = False  # a mean is subtracted, too

    def __str__(self) -> str:
        return f"{'BGR' if self.bgr else 'RGB'} in 0..{self.white:g}{', minus a mean' if self.shifted else ''}"


def find_state_dict(content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], str | None]:
    """Return the state_dict in a checkpoint and the keys that lead to it, None for the whole content.

    Newer average_model.pth files of super-gradients hold an average of epochs under `net` and the last epoch's
    `ema_net`: the latter is taken, as super-gradients' own models.get does.
    """
    for keys in _HOLDERS:
        found: Any = content
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and found:
            if _LIGHTNING in content and any(str(name).startswith("model.") for name in found):
                # The network is one member of a LightningModule; its losses and metrics may have weights, too.
                found = {name: value for name, value in found.items() if str(name).startswith("model.")}
            return found, ".".join(keys)
    return content, None


def strip_prefixes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights without the prefixes that wrappers put before every name."""
    bare = dict(weights)
    if all(name == _AVERAGED or name.startswith("module.") for name in bare):  # torch's AveragedModel
        bare.pop(_AVERAGED, None)
    while bare and (prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in bare)), None)):
        bare = {name.removeprefix(prefix): value for name, value in bare.items()}
    return bare


def read_description(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields of Checkpoint that describe the network, from the entries beside the weights.

    Supported are the entries of nanoseg's training, of super-gradients (`processing_params`) and of modern-yolonas
    (`hyper_parameters`).
    """
    processing = _mapping(content.get("processing_params"))
    steps = list(_steps(processing.get("image_processor")))
    # modern-yolonas letterboxes to this size and trains on RGB in 0..1.
    lightning_px = _mapping(content.get("hyper_parameters")).get("input_size") if _LIGHTNING in content else None
    sizes = (content.get("image_size"), lightning_px, _side(steps))
    steps_px = _side([step for step in steps if step[0].endswith("LongestMaxSizeRescale")])
    rescales = (content.get("rescale_px"), steps_px)
    # So does nanoseg.
    always_rgb = isinstance(lightning_px, int) or content.get("architecture") == "yolo_nas"
    return {
        "architecture": _text(content.get("architecture")),
        "variant": _text(content.get("variant")),
        "labels": ordered_names(content.get("labels")) or ordered_names(processing.get("class_names")),
        "image_size": next((size for size in sizes if isinstance(size, int)), None),
        "rescale_px": next((side for side in rescales if isinstance(side, int)), None),
        "pixels": PixelFormat() if always_rgb else _pixels(steps),
        "padding": _padding(steps),
        "skeleton": _skeleton(processing.get("edge_links")),
    }


def read_metadata_labels(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the class names in a safetensors file's metadata, as JSON or comma-separated."""
    text = next((metadata[key] for key in _LABEL_KEYS if metadata.get(key)), None)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except RecursionError:
        return None
    except ValueError:
        return tuple(name.strip() for name in text.split(","))
    return ordered_names(found)


def _steps(value: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield (name, settings) of each step of a super-gradients image_processor, which nests them in many ways."""
    if isinstance(value, str):
        yield value, {}
    elif isinstance(value, list | tuple | set):
        for step in value:
            yield from _steps(step)
    elif isinstance(value, Mapping):
        for name, settings in value.items():
            if name == "ComposeProcessing":
                yield from _steps(_mapping(settings).get("processings"))
            else:
                yield str(name), _mapping(settings)


def _pixels(steps: list[tuple[str, Mapping[Any, Any]]]) -> PixelFormat | None:
    """Return the pixel format after super-gradients' steps, which start from RGB in 0..255.

    Its data sets for fine-tuning use BGR, mostly in 0..255; its COCO weights RGB in 0..1.
    """
    if not steps:
        return None
    names = [name for name, _ in steps]
    white = _MAX_VALUE
    for name, settings in steps:
        if name == "StandardizeImage":
            divisor = settings.get("max_value", _MAX_VALUE)
            white /= float(divisor) if isinstance(divisor, int | float) and divisor > 0 else _MAX_VALUE
    return PixelFormat(names.count("ReverseImageChannels") % 2 == 1, white, "NormalizeImage" in names)


def _padding(steps: list[tuple[str, Mapping[Any, Any]]]) -> Padding | None:
    """Return what super-gradients' last step of padding does: DetectionCenterPadding, KeypointsBottomRightPadding."""
    for name, settings in reversed(steps):
        if name.endswith(("CenterPadding", "BottomRightPadding")):
            value = settings.get("pad_value", LETTERBOX_VALUE)
            is_level = isinstance(value, int) and 0 <= value <= _MAX_VALUE
            return Padding(name.endswith("CenterPadding"), value) if is_level else None
    return None


def _skeleton(links: Any) -> tuple[tuple[int, int], ...] | None:
    """Return the pairs of keypoints that super-gradients draws lines between."""
    if not isinstance(links, list | tuple) or not links:
        return None
    pairs = [tuple(link) if isinstance(link, list | tuple) else () for link in links]
    if not all(len(pair) == 2 and all(isinstance(end, int) and end >= 0 for end in pair) for pair in pairs):
        return None
    return tuple((pair[0], pair[1]) for pair in pairs)


def _side(steps: list[tuple[str, Mapping[Any, Any]]]) -> int | None:
    """Return the side of the square that the last of the steps makes, if it is one."""
    shapes = [settings.get("output_shape") for _, settings in steps]
    last = next((shape for shape in reversed(shapes) if isinstance(shape, list | tuple)), ())
    sides = {side for side in last if isinstance(side, int)}
    return sides.pop() if len(sides) == 1 else None


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
