"""Convert a network to float16: measure its activations, convert it, and compare the outputs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nanoseg.errors import UsageError
from nanoseg.evaluation.detector import detector_preprocessor
from nanoseg.evaluation.open_scenes import open_scenes
from nanoseg.evaluation.scenes import Scene, Scenes
from nanoseg.evaluation.split import split_scenes
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec, read_detector_spec
from nanoseg.onnx_graphs.deploy.detector_metadata import choose_rescale_px
from nanoseg.onnx_graphs.fp16.compare import EmbeddingDecoder, MaskComparison, OutputComparison, PrecisionPair
from nanoseg.onnx_graphs.fp16.inputs import DecoderInputs, ImageInputs, Inputs, boxes_of
from nanoseg.onnx_graphs.fp16.overflow import LayerPeak, measure_peaks, overflow_nodes
from nanoseg.onnx_graphs.fp16.report import Fp16Report, LayerHeadroom, MeasuredImages
from nanoseg.onnx_graphs.fp16.to_fp16 import SUFFIX, tensor_types, to_fp16
from nanoseg.onnx_graphs.model import contract
from nanoseg.onnx_graphs.model.contract import SourceNetwork, load_network
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes, node_key
from nanoseg.processing.geometry import CELL_PX
from nanoseg.processing.masks import Masks
from nanoseg.processing.preprocess import Preprocessor
from nanoseg.utils.terminal import plural, progress_bar

FP32, FP16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
DETECTOR, ENCODER, DECODER = "detector", "encoder", "decoder"
KINDS = {DETECTOR: "a detector", ENCODER: "an image encoder", DECODER: "a mask decoder"}


@dataclass(frozen=True, kw_only=True)
class Fp16Options:
    """Options of `convert_network`; raises UsageError for values out of range, named by their flag.

    Attributes:
        network: a float32 image encoder, mask decoder or detector, or a quantized detector, as an ONNX file.
        out: the file for the float16 network; `convert_network` does not write it.
        images: a folder or pattern of images, or parts://.
        annotations: a COCO file with the images' objects, to measure mIoU.
        count: number of images to measure on, and of images to compare on.
        decoder: a mask decoder, to compare the masks of an encoder's embeddings.
        encoder: an image encoder, whose embeddings a mask decoder is measured on.
        detector_spec: a TOML file that describes another exporter's detector.
        size: side of a detector's input in pixels, where its file leaves it open.
        rescale: longer side of an image in a detector's input in pixels.
    """

    network: Path
    out: Path
    images: str
    annotations: Path | None = None
    count: int = 32
    decoder: Path | None = None
    encoder: Path | None = None
    detector_spec: Path | None = None
    size: int | None = None
    rescale: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--count: wanted 1 or more, got {self.count}")


@dataclass(frozen=True, eq=False)
class Fp16Result:
    """The float16 network and its report."""

    report: Fp16Report
    onnx: bytes  # the file's content

    def __repr__(self) -> str:
        return f"Fp16Result({self.report.network!r}, {self.report.kind})"


def convert_network(options: Fp16Options, log: Callable[[str], None] = lambda _: None) -> Fp16Result:
    """Convert a network to float16 and measure what that costs.

    Progress bars go to a terminal's stderr. Nothing is written.

    Args:
        options: the network, the images and the output.
        log: called with each finding on the way, one line each.

    Raises:
        NanosegError: a file, an image or an option does not fit; most of that is found before the network runs.
    """
    return _Conversion(options, log).run()


class _Conversion:
    """State of one conversion."""

    def __init__(self, options: Fp16Options, log: Callable[[str], None]) -> None:
        """Load and check everything before the network runs."""
        self._options, self._log, self._start = options, log, time.monotonic()
        spec = None if options.detector_spec is None else read_detector_spec(options.detector_spec)
        self._network, self._kind = _load(options, spec)
        self._inputs = _inputs(self._network, self._kind, spec, options)
        self._model = self._network.model
        self._model.graph.name = options.network.name  # the name in error messages
        self._decode = box_decode_nodes(self._model.graph.node) if self._kind == DETECTOR else set()
        self._fp16 = to_fp16(self._model, self._decode)
        self._decoder: EmbeddingDecoder | None = None
        if options.decoder is not None:
            self._decoder = EmbeddingDecoder(self._network, load_decoder(options.decoder))
        self._masks = MaskComparison() if self._decoder is not None or self._kind == DECODER else None
        self._split = split_scenes(open_scenes(options.images, options.annotations), options.count, options.count)

    def run(self) -> Fp16Result:
        options, split = self._options, self._split
        with progress_bar("measuring activations", len(split.calibration_indices), unit="images") as advance:
            feeds = (inputs.feeds for _, inputs in self._scenes(split.calibration, split.calibration_indices, advance))
            peaks = _held_in_fp16(self._fp16, measure_peaks(self._model, feeds))
        too_large = overflow_nodes(self._model, peaks)
        if too_large:
            self._log(f"{plural(len(too_large), 'layer')} near the largest number of float16: kept in float32")
            self._fp16 = to_fp16(self._model, self._decode | too_large)
        test_scenes, test_indices = split.evaluation, split.evaluation_indices
        if not test_indices:  # no ground truth: both networks are compared on the images that were measured
            test_scenes, test_indices = split.calibration, split.calibration_indices
        outputs = self._compare(test_scenes, test_indices)
        data = self._fp16.SerializeToString(deterministic=True)
        report = Fp16Report(
            network=str(options.network),
            kind=self._kind,
            out=str(options.out),
            bytes_before=options.network.stat().st_size,
            bytes=len(data),
            pictures=MeasuredImages(
                options.images,
                None if options.annotations is None else str(options.annotations),
                len(split.calibration_indices),
                len(test_indices),
            ),
            decode=len(self._decode),
            float32=_count_fp32_operators(self._model, self._fp16, self._decode | too_large),
            too_large=[node_key(node) for node in self._model.graph.node if node_key(node) in too_large],
            layers=[_layer_report(peak, float16=peak.layer not in too_large) for peak in peaks],
            outputs=outputs.report(),
            masks=None if self._masks is None else self._masks.report(),
            seconds=round(time.monotonic() - self._start, 1),
        )
        return Fp16Result(report, data)

    def _compare(self, scenes: Scenes, indices: Sequence[int]) -> OutputComparison:
        comparison = OutputComparison(of_detector=self._kind == DETECTOR)
        with (
            PrecisionPair(self._model, self._fp16, self._options.network.name) as pair,
            progress_bar("comparing float32 and float16", len(indices), unit="images") as advance,
        ):
            for scene, inputs in self._scenes(scenes, indices, advance):
                fp32, fp16 = pair(inputs.feeds)
                comparison.add(fp32, fp16)
                if self._masks is not None and (self._decoder is not None or inputs.boxes is not None):
                    masks = (self._decoded(scene, inputs, outputs) for outputs in (fp32, fp16))
                    self._masks.add(scene, inputs.first, *masks)
        return comparison

    def _decoded(self, scene: Scene, inputs: Inputs, outputs: Mapping[str, np.ndarray]) -> Masks:
        """Return the masks that the network, or the decoder behind it, gives for the scene's boxes."""
        if self._decoder is not None:
            return self._decoder(outputs["image_embeddings"], inputs.geometry, boxes_of(scene))
        logits, confidence = outputs["low_res_masks"], outputs["iou_predictions"]
        return Masks.from_output(logits, confidence, inputs.geometry, boxes=inputs.boxes)

    def _scenes(
        self, scenes: Scenes, indices: Sequence[int], advance: Callable[[], None]
    ) -> Iterator[tuple[Scene, Inputs]]:
        """Yield each scene with the network's inputs, which are valid until the next ones."""
        for index in indices:
            scene = scenes[index]
            for inputs in self._inputs(scene):
                yield scene, inputs
            advance()


def _load(options: Fp16Options, spec: DetectorSpec | None) -> tuple[SourceNetwork, str]:
    """Return the network, and its kind by its inputs and outputs; raises UsageError for flags of another kind."""
    path = options.network
    graph = read_model(path).graph
    inputs, outputs = ({value.name for value in values} for values in (graph.input, graph.output))
    kind = DECODER if "point_coords" in inputs else ENCODER if "image_embeddings" in outputs else DETECTOR
    flags: dict[str, Mapping[str, object]] = {
        DETECTOR: {"--detector-spec": spec, "--size": options.size, "--rescale": options.rescale},
        ENCODER: {"--decoder": options.decoder},
        DECODER: {"--encoder": options.encoder},
    }
    for other, values in flags.items():
        if other != kind and (wrong := [flag for flag, value in values.items() if value is not None]):
            raise UsageError(f"{wrong[0]}: wanted with {KINDS[other]}, got {path}, {KINDS[kind]}")
    if kind == DETECTOR:
        return load_detector(path, spec, options.size), kind
    if kind == ENCODER:
        return load_network(path, contract.ENCODER), kind
    if options.encoder is None:
        raise UsageError(f"--encoder: wanted with {path}, a mask decoder: it is measured on an encoder's embeddings")
    return load_decoder(path, mask_prompts="mask_input" in inputs), kind


def _inputs(
    network: SourceNetwork, kind: str, spec: DetectorSpec | None, options: Fp16Options
) -> Callable[[Scene], Iterator[Inputs]]:
    """Return what makes the network's inputs of a scene; the input of another network is as small as it can be."""
    if kind == DECODER and options.encoder is not None:
        return DecoderInputs(options.encoder, network)
    if kind == ENCODER:
        return ImageInputs(Preprocessor(CELL_PX, CELL_PX, network.dims["E"]), is_encoder=True)
    rescale_px, _ = choose_rescale_px(network, spec, options.rescale)
    return ImageInputs(detector_preprocessor(network, rescale_px), is_encoder=False)


def _held_in_fp16(converted: onnx.ModelProto, peaks: Sequence[LayerPeak]) -> list[LayerPeak]:
    """Return the peaks of layers whose activations some float16 tensor holds."""
    types = tensor_types(converted)
    return [peak for peak in peaks if FP16 in (types.get(peak.layer), types.get(peak.layer + SUFFIX[FP16]))]


def _layer_report(layer: LayerPeak, *, float16: bool) -> LayerHeadroom:
    """Return the layer's report; JSON has no infinity."""
    peak, headroom = (value if np.isfinite(value) else None for value in (layer.peak, layer.headroom))
    return LayerHeadroom(layer.layer, layer.op, peak, headroom, float16)


def _count_fp32_operators(model: onnx.ModelProto, converted: onnx.ModelProto, without: set[str]) -> dict[str, int]:
    """Count the operators that stay float32 for what they compute; `without` are kept for other reasons."""
    types = tensor_types(converted)
    # A float16 node's output under the old name, if there is one, is that of a Cast.
    producers = {name: node.op_type for node in converted.graph.node for name in node.output}
    kept = Counter(
        node.op_type
        for node in model.graph.node
        if node.op_type != "Cast"
        and node_key(node) not in without
        and types.get(node_key(node)) == FP32
        and producers[node_key(node)] == node.op_type
    )
    return dict(kept.most_common())
