"""Three networks in, or four, and the deployment graphs of a bundle out."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nanoseg.bundle.labels import names_in_order, read_labels
from nanoseg.bundle.manifest import Precision
from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
from nanoseg.onnx_graphs.deploy.segment import embed_graph, segment_graph
from nanoseg.onnx_graphs.model.contract import ENCODER, SourceNetwork, load_network
from nanoseg.onnx_graphs.model.shapes import dtype_of
from nanoseg.processing.geometry import CELL_PX, usual_rescale_px

# What export_mask_decoder.py calls decoders that were trained with SAM's own image encoders, "vit_b" and so on.
SAMS_OWN = ("sam_vit_", "_mask_decoder")
# What export_image_encoder.py calls encoders that learnt to give MobileSAM's embeddings.
NOT_SAMS = ("nanosam_", "mobile_sam_")


@dataclass(frozen=True, eq=False)
class Networks:
    """The checked networks of one bundle."""

    detector: SourceNetwork
    encoder: SourceNetwork
    decoder: SourceNetwork
    mask_decoder: SourceNetwork | None = None
    form: DetectorSpec | None = None

    @classmethod
    def load(
        cls,
        detector: str | Path,
        encoder: str | Path,
        decoder: str | Path,
        mask_decoder: str | Path | None = None,
        form: DetectorSpec | None = None,
        detector_px: int | None = None,
    ) -> Networks:
        """Read and check all, and that encoder and decoders fit; raises BundleError.

        `form` and `detector_px` say what the detector's file leaves open.
        """
        networks = cls(
            load_detector(detector, form, detector_px),
            load_network(encoder, ENCODER),
            load_decoder(decoder),
            None if mask_decoder is None else load_decoder(mask_decoder, masks=True),
            form,
        )
        side, got = networks.encoder.dims["E"], networks.encoder.dims["g"]
        if side != CELL_PX * got:
            raise BundleError(
                f"{networks.encoder.path}: wanted an embedding with a cell for every {CELL_PX} px of its input, "
                f"as SAM's are, got {got} cells a side for {side} px; such an encoder is not taken yet"
            )
        for core in filter(None, (networks.decoder, networks.mask_decoder)):
            if (wants := core.dims["g"]) != got:
                raise BundleError(
                    f"{core.path}: 'image_embeddings' wants (1, 256, {wants}, {wants}), "
                    f"but {networks.encoder.path} gives (1, 256, {got}, {got}); export both for one image size"
                )
            if (whose := _reads_only(core)) and _architecture(networks.encoder).startswith(NOT_SAMS):
                raise BundleError(
                    f"{core.path}: wanted a decoder that reads the embeddings of {networks.encoder.path}, "
                    f"{_architecture(networks.encoder)}, got one that reads only those of {whose}'s own encoder; take "
                    "MobileSAM's decoder"
                )
        return networks

    def labels(self, given: str | Path | None) -> list[str]:
        """Class names: as read_labels takes them, or what the detector's exporter left in its metadata.

        Raises BundleError where it left none, or not one a class, UsageError for those given.
        """
        classes = self.detector.dims["C"]
        names = metadata_labels(self.detector) if given is None else read_labels(str(given))
        if not names:
            raise BundleError(
                f"{self.detector.path}: holds no labels; give them, a file with one a line, or coco: --labels FILE"
            )
        if len(names) != classes:
            told = f"wanted {classes} labels, one a class of the detector, got {len(names)}"
            if given is not None:
                raise UsageError(f"--labels: {told}")
            raise BundleError(f"{self.detector.path}: {told}; give --labels")
        return list(names)

    def notes(self) -> list[str]:
        """What whoever makes the bundle should know of its networks, a line each."""
        decoders = [core for core in (self.decoder, self.mask_decoder) if core is not None]
        told = [
            f"{core.path}: takes one prompt a call, as it was made elsewhere; with export_mask_decoder.py's it is "
            "one call for all"
            for core in decoders
            if core.dims.get("N") == 1
        ]
        told += [f"{core.path}: gives one mask, its own choice of four" for core in decoders if core.dims["k"] == 1]
        told += [
            f"{core.path}: reads only the embeddings of {whose}'s own encoder; with any other its masks are worthless"
            for core in decoders
            if (whose := _reads_only(core))
        ]
        if self.form is None and "pixels_told" not in self.detector.metadata:
            told.append(
                f"{self.detector.path}: nobody told its pixels: taken for RGB in 0..1; --detector-spec, or --pixels "
                "for a checkpoint, tells otherwise"
            )
        return list(dict.fromkeys(told))

    def rescale_px(self, wanted: int | None) -> int:
        """The frame's longer side in the detector's input: `wanted`, what is told of it, or what is usual."""
        return choose_rescale_px(self.detector, self.form, wanted)[0]

    def rescale_note(self, wanted: int | None) -> str:
        """The same for people, with the reason."""
        px, why = choose_rescale_px(self.detector, self.form, wanted)
        return f"the frame's longer side becomes {px} of the detector's {self.detector.dims['S']} px, {why}"

    def graphs(self, rescale_px: int, max_detections: int, all_masks: bool) -> dict[str, onnx.ModelProto]:
        """prepare, detect, embed, segment, and segment_mask where there is a decoder for it.

        Pictures pass from prepare to the networks in the type these compute in, embeddings in float32.
        Raises BundleError for numbers out of range, and for all masks of a decoder that gives one.
        """
        decoders = {"segment": self.decoder, "segment_mask": self.mask_decoder}
        there = {name: core for name, core in decoders.items() if core is not None}
        for core in there.values():
            if all_masks and core.dims["k"] == 1:
                raise BundleError(f"{core.path}: --masks all wants a decoder of four masks, got one of one")
        detect, embed = detect_graph(self.detector, max_detections), embed_graph(self.encoder)
        sides = self.detector.dims["S"], rescale_px, self.encoder.dims["E"]
        return {
            "prepare": prepare_graph(*sides, images=_taken(detect, "images"), image=_taken(embed, "image")),
            "detect": detect,
            "embed": embed,
            **{name: segment_graph(core, all_masks) for name, core in there.items()},
        }


def choose_rescale_px(detector: SourceNetwork, form: DetectorSpec | None, wanted: int | None) -> tuple[int, str]:
    """The frame's longer side in the detector's input, and why: `wanted`, what is told of it, or what is usual."""
    side, own = detector.dims["S"], detector.metadata.get("rescale_px", "")
    if wanted is not None:
        return wanted, "as --rescale says"
    if form is not None and form.input.rescale_px is not None:
        return form.input.rescale_px, "as --detector-spec says"
    if own.isdecimal():
        return int(own), "as its file says"
    # Only YOLO-NAS leaves a rim of two pixels; what needs a form is mostly something else.
    if form is None or _architecture(detector).startswith("yolo_nas"):
        return usual_rescale_px(side), "as is usual for YOLO-NAS; --rescale PX tells otherwise"
    return side, "all of it; rescale_px in --detector-spec tells otherwise"


def precision_of(model: onnx.ModelProto) -> Precision:
    """What most of a graph computes in: int8 with Q/DQ, fp16 where it takes float16 or most weights are, else fp32."""
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return "int8"
    if any(dtype_of(value) == onnx.TensorProto.FLOAT16 for value in model.graph.input):
        return "fp16"
    half, single = (
        sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == kind)
        for kind in (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    )
    return "fp16" if half > single else "fp32"


def _taken(graph: onnx.ModelProto, name: str) -> type[np.generic]:
    """The type of an input."""
    (value,) = (value for value in graph.graph.input if value.name == name)
    return onnx.helper.tensor_dtype_to_np_dtype(dtype_of(value)).type


def metadata_labels(detector: SourceNetwork) -> tuple[str, ...] | None:
    """Class names in the detector's metadata, None where there are none.

    Ours are JSON under "labels"; Ultralytics writes a dict as Python shows it under "names".
    """
    told = detector.metadata
    try:
        return names_in_order(json.loads(told["labels"]) if "labels" in told else ast.literal_eval(told["names"]))
    except (KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):  # all that ast says it raises
        return None


def _architecture(core: SourceNetwork) -> str:
    return core.metadata.get("architecture", "")


def _reads_only(decoder: SourceNetwork) -> str | None:
    """The SAM, such as "SAM vit_b", without whose own image encoder a decoder is of no use."""
    name, (first, last) = _architecture(decoder), SAMS_OWN
    return f"SAM {name.removeprefix('sam_').removesuffix(last)}" if name.startswith(first) else None
