"""Compose the deployment graphs of a bundle from its three or four networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nanoseg.bundle.labels import read_labels
from nanoseg.bundle.manifest import Precision
from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec
from nanoseg.onnx_graphs.adapt.encoder import load_encoder
from nanoseg.onnx_graphs.adapt.end2end import largest_class_id
from nanoseg.onnx_graphs.adapt.nms_plugin import CLASS_AGNOSTIC, PLUGIN
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.detector_metadata import (
    architecture_of,
    choose_rescale_px,
    metadata_labels,
    padding_of,
)
from nanoseg.onnx_graphs.deploy.low_rank.graph import LOW_RANK, low_rank_graph
from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
from nanoseg.onnx_graphs.deploy.segment import embed_graph, segment_graph
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.shapes import dtype_of
from nanoseg.processing.geometry import CELL_PX
from nanoseg.processing.nms import NmsKind

# The architecture, in the metadata of nanoseg export mask-decoder, of decoders trained with SAM's own image encoders.
SAM_ENCODER_ONLY = ("sam_vit_", "_mask_decoder")
# The architecture, in the metadata of nanoseg export image-encoder, of encoders trained for MobileSAM's embeddings.
MOBILE_SAM_ENCODERS = ("nanosam_", "mobile_sam_")


@dataclass(frozen=True, eq=False)
class Networks:
    """The checked networks of one bundle."""

    detector: SourceNetwork
    encoder: SourceNetwork
    decoder: SourceNetwork
    mask_decoder: SourceNetwork | None = None
    detector_spec: DetectorSpec | None = None

    def __repr__(self) -> str:
        return f"Networks({', '.join(network.path.name for network in (self.detector, self.encoder, *self.decoders))})"

    @classmethod
    def load(
        cls,
        detector: str | Path,
        encoder: str | Path,
        decoder: str | Path,
        mask_decoder: str | Path | None = None,
        detector_spec: DetectorSpec | None = None,
        detector_px: int | None = None,
    ) -> Networks:
        """Load and check the networks, and that encoder and decoders fit together.

        Args:
            detector: an ONNX file, as are the others.
            encoder: the image encoder.
            decoder: the mask decoder.
            mask_decoder: a decoder that takes masks as prompts.
            detector_spec: input and outputs of another exporter's detector.
            detector_px: side of the detector's input, where its file leaves it open.

        Raises:
            BundleError: a network does not fulfil its contract, or does not fit another one.
        """
        networks = cls(
            load_detector(detector, detector_spec, detector_px),
            load_encoder(encoder, detector_spec.encoder if detector_spec is not None else None),
            load_decoder(decoder),
            None if mask_decoder is None else load_decoder(mask_decoder, mask_prompts=True),
            detector_spec,
        )
        side, got = networks.encoder.dims["E"], networks.encoder.dims["g"]
        if side != CELL_PX * got:
            raise BundleError(
                f"{networks.encoder.path}: wanted an embedding with a cell for every {CELL_PX} px of its input, "
                f"as SAM's are, got {got} cells a side for {side} px; such an encoder is not taken yet"
            )
        for network in networks.decoders:
            if (wants := network.dims["g"]) != got:
                raise BundleError(
                    f"{network.path}: 'image_embeddings' wants (1, 256, {wants}, {wants}), "
                    f"but {networks.encoder.path} gives (1, 256, {got}, {got}); export both for one image size"
                )
            architecture = architecture_of(networks.encoder)
            if (sam := _required_sam(network)) and architecture.startswith(MOBILE_SAM_ENCODERS):
                raise BundleError(
                    f"{network.path}: wanted a decoder that reads the embeddings of {networks.encoder.path}, "
                    f"{architecture}, got one that reads only those of {sam}'s own encoder; take MobileSAM's decoder"
                )
        return networks

    @property
    def decoders(self) -> list[SourceNetwork]:
        """The decoder, and the one with mask prompts where there is one."""
        return [network for network in (self.decoder, self.mask_decoder) if network is not None]

    def labels(self, given: str | Path | None) -> list[str]:
        """Return the class names.

        Args:
            given: a file, names or "coco" as `read_labels` takes them; None for those in the detector's metadata.

        Raises:
            BundleError: the detector's metadata has none, or not one for each class.
            UsageError: the given ones are not one for each class.
        """
        names = metadata_labels(self.detector) if given is None else read_labels(str(given))
        if not names:
            raise BundleError(
                f"{self.detector.path}: holds no labels; give them, a file with one a line, or coco: --labels FILE"
            )
        mismatch = ""
        if self.detector.is_end2end:  # its outputs do not say how many classes there are
            if (last := largest_class_id(self.detector)) >= len(names):
                mismatch = f"wanted a label for each class id, which go to {last}, got {len(names)}"
        elif len(names) != (classes := self.detector.dims["C"]):
            mismatch = f"wanted {classes} labels, one a class of the detector, got {len(names)}"
        if mismatch:
            if given is not None:
                raise UsageError(f"--labels: {mismatch}")
            raise BundleError(f"{self.detector.path}: {mismatch}; give --labels")
        return list(names)

    def notes(self, kind: NmsKind = "by-class") -> list[str]:
        """Return remarks on the networks for the bundle's author, one line each, where its NMS is of this kind."""
        notes = [
            f"{network.path}: takes one prompt a call, as other exporters' decoders do; one of nanoseg export "
            "mask-decoder takes all in one call"
            for network in self.decoders
            if network.dims.get("N") == 1
        ]
        notes += [
            f"{network.path}: returns one mask, which it chooses of four itself"
            for network in self.decoders
            if network.dims["k"] == 1
        ]
        notes += [
            f"{network.path}: reads only the embeddings of {sam}'s own encoder; with any other its masks are worthless"
            for network in self.decoders
            if (sam := _required_sam(network))
        ]
        if CLASS_AGNOSTIC in self.detector.metadata and kind == "by-class":
            notes.append(
                f"{self.detector.path}: its {PLUGIN} suppresses across classes (class_agnostic=1); nanoseg's NMS keeps "
                "overlapping boxes of different classes, unless --nms across-classes is given"
            )
        if self.detector_spec is None and "pixels_told" not in self.detector.metadata:
            notes.append(
                f"{self.detector.path}: its pixels are not described: RGB in 0..1 is assumed; to change that give "
                "--detector-spec, or --pixels for a checkpoint"
            )
        if self.detector.is_end2end:
            fate = "suppressed where they overlap" if self.detector.needs_nms else "all kept, whatever --iou is"
            fate += " (nms in --detector-spec)"
            if kind == "across-classes":
                fate = "suppressed where they overlap, whatever their classes (--nms)"
            notes.append(
                f"{self.detector.path}: end-to-end: its rows are box, score and class id; its boxes are {fate}"
            )
        return list(dict.fromkeys(notes))

    def rescale_px(self, wanted: int | None) -> int:
        """Return the frame's longer side in the detector's input, see `choose_rescale_px`."""
        return choose_rescale_px(self.detector, self.detector_spec, wanted)[0]

    def rescale_note(self, wanted: int | None) -> str:
        """Return a line for the user about that length, with its reason."""
        px, reason = choose_rescale_px(self.detector, self.detector_spec, wanted)
        return f"the frame's longer side becomes {px} of the detector's {self.detector.dims['S']} px, {reason}"

    def graphs(
        self,
        rescale_px: int,
        max_detections: int,
        all_masks: bool,
        max_candidates: int | None = None,
        kind: NmsKind = "by-class",
    ) -> dict[str, onnx.ModelProto]:
        """Compose the deployment graphs: prepare, detect, embed and segment, and those of OPTIONAL_GRAPHS.

        segment_boxes where the decoder allows it, with the form of it that TensorRT builds, LOW_RANK, where that pays;
        segment_mask with a mask decoder.

        prepare outputs the types that the networks compute in; embeddings are float32.

        Args:
            rescale_px: length of the frame's longer side in the detector's input.
            max_detections: number of rows of detect, after NMS.
            all_masks: return all masks of a prompt, not the best one.
            max_candidates: number of rows before NMS; by default `max_detections`.
            kind: of NMS.

        Raises:
            BundleError: a number is out of range, or all masks are wanted of a decoder that has one.
        """
        for network in self.decoders:
            if all_masks and network.dims["k"] == 1:
                raise BundleError(f"{network.path}: --masks all wants a decoder of four masks, got one of one")
        detect = detect_graph(self.detector, max_detections, max_candidates, kind)
        embed = embed_graph(self.encoder)
        sides = self.detector.dims["S"], rescale_px, self.encoder.dims["E"]
        boxes = segment_boxes_graph(self.decoder)
        low_rank = None if boxes is None else low_rank_graph(boxes)
        return {
            "prepare": prepare_graph(
                *sides,
                images=_input_type(detect, "images"),
                image=_input_type(embed, "image"),
                padding=padding_of(self.detector),
            ),
            "detect": detect,
            "embed": embed,
            "segment": segment_graph(self.decoder, all_masks),
            **({} if boxes is None else {"segment_boxes": boxes}),
            **({} if low_rank is None else {LOW_RANK: low_rank}),
            **({} if self.mask_decoder is None else {"segment_mask": segment_graph(self.mask_decoder, all_masks)}),
        }


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return a graph's precision: int8 with Q/DQ, fp16 where its input or most of its weights are, else fp32."""
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return "int8"
    if any(dtype_of(value) == onnx.TensorProto.FLOAT16 for value in model.graph.input):
        return "fp16"
    fp16, fp32 = (
        sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == dtype)
        for dtype in (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    )
    return "fp16" if fp16 > fp32 else "fp32"


def _input_type(graph: onnx.ModelProto, name: str) -> type[np.generic]:
    (value,) = (value for value in graph.graph.input if value.name == name)
    return onnx.helper.tensor_dtype_to_np_dtype(dtype_of(value)).type


def _required_sam(decoder: SourceNetwork) -> str | None:
    """Return the SAM, such as "SAM vit_b", whose own image encoder a decoder requires; None for others."""
    name, (first, last) = architecture_of(decoder), SAM_ENCODER_ONLY
    return f"SAM {name.removeprefix('sam_').removesuffix(last)}" if name.startswith(first) else None
