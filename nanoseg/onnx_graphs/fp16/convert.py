"""Measure a network's activations, to_fp16 it, compare what both give, and write it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nanoseg.commands.fp16.report import REPORT, LayerReport, PictureReport, Report, report_files
from nanoseg.commands.picture_options import check_files, put_files
from nanoseg.errors import UsageError
from nanoseg.evaluation.detector import detector_preparer
from nanoseg.evaluation.scenes import Scene, Scenes, open_scenes
from nanoseg.evaluation.split import split
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec, read_detector_spec
from nanoseg.onnx_graphs.deploy.compose import choose_rescale_px
from nanoseg.onnx_graphs.fp16.compare import MaskComparison, OutputComparison, Pair
from nanoseg.onnx_graphs.fp16.overflow import Peak, measure_peaks, overflow_nodes
from nanoseg.onnx_graphs.fp16.to_fp16 import SUFFIX, tensor_types, to_fp16
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes, node_key
from nanoseg.onnx_graphs.model.contract import ENCODER, SourceNetwork, load_network
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.processing.geometry import CELL_PX, Geometry
from nanoseg.processing.preprocess import Preparer
from nanoseg.utils.terminal import plural, progress_bar

HALF = onnx.TensorProto.FLOAT16


@dataclass(frozen=True)
class Job:
    """What was asked for, by the names of the flags."""

    network: Path
    out: Path
    images: str
    annotations: Path | None = None
    count: int = 32
    decoder: Path | None = None
    report: Path | None = None
    detector_spec: Path | None = None
    size: int | None = None
    rescale: int | None = None


class Halving:
    """One job, step by step; `say` is told what was found on the way."""

    def __init__(self, job: Job, say: Callable[[str], None]) -> None:
        """Reads and checks all that can be told before the network runs; raises NanosegError."""
        _check(job)
        self._job, self._say, self._began = job, say, time.monotonic()
        form = None if job.detector_spec is None else read_detector_spec(job.detector_spec)
        self._core, self._is_encoder = _load(job, form)
        self._preparer = _preparer(self._core, self._is_encoder, form, job.rescale)
        self._model = self._core.model
        self._model.graph.name = job.network.name  # what is wrong with it is told of this name
        self._decode = set() if self._is_encoder else box_decode_nodes(self._model.graph.node)
        self._halved = to_fp16(self._model, self._decode)
        self._masks: MaskComparison | None = None
        if job.decoder is not None:
            if not self._is_encoder:
                raise UsageError(f"--decoder: wanted with an image encoder, got {job.network}, a detector")
            self._masks = MaskComparison(self._core, load_decoder(job.decoder))
        self._split = split(open_scenes(job.images, job.annotations), job.count, job.count)

    def run(self) -> Report:
        """All of it; raises NanosegError where something fails, and then nothing is written."""
        job, halves = self._job, self._split
        with progress_bar("measuring activations", len(halves.learn_on), unit="pictures") as advance:
            feeds = (inputs for _, inputs, _ in self._pictures(halves.learn, halves.learn_on, advance))
            layers = _held_in_half(self._halved, measure_peaks(self._model, feeds))
        large = overflow_nodes(self._model, layers)
        if large:
            self._say(f"{plural(len(large), 'layer')} near the largest number of float16: kept in float32")
            self._halved = to_fp16(self._model, self._decode | large)
        judge, judge_on = (halves.judge, halves.judge_on) if halves.judge_on else (halves.learn, halves.learn_on)
        outputs = self._compare(judge, judge_on)
        data = self._halved.SerializeToString(deterministic=True)
        report = Report(
            network=str(job.network),
            kind="encoder" if self._is_encoder else "detector",
            out=str(job.out),
            bytes_before=job.network.stat().st_size,
            bytes=len(data),
            pictures=PictureReport(
                job.images,
                None if job.annotations is None else str(job.annotations),
                len(halves.learn_on),
                len(judge_on),
            ),
            decode=len(self._decode),
            float32=_stay(self._model, self._halved, self._decode | large),
            too_large=[node_key(node) for node in self._model.graph.node if node_key(node) in large],
            layers=[_layer(layer, layer.layer not in large) for layer in layers],
            outputs=outputs.report(),
            masks=None if self._masks is None else self._masks.report(),
            seconds=round(time.monotonic() - self._began, 1),
        )
        files = {job.out: data}
        if job.report is not None:
            files |= report_files(report, job.report)
        put_files(files)
        return report

    def _compare(self, scenes: Scenes, indices: Sequence[int]) -> OutputComparison:
        agreement = OutputComparison(self._is_encoder)
        with (
            Pair(self._model, self._halved, self._job.network.name) as pair,
            progress_bar("comparing float32 and float16", len(indices), unit="pictures") as advance,
        ):
            for scene, inputs, geometry in self._pictures(scenes, indices, advance):
                single, half = pair(inputs)
                agreement.add(single, half)
                if self._masks is not None:
                    self._masks.add(scene, geometry, single["image_embeddings"], half["image_embeddings"])
        return agreement

    def _pictures(
        self, scenes: Scenes, indices: Sequence[int], advance: Callable[[], None]
    ) -> Iterator[tuple[Scene, dict[str, np.ndarray], Geometry]]:
        """Each scene with the network's input made of it, which is valid until the next."""
        for index in indices:
            scene = scenes[index]
            if self._is_encoder:
                prepared = self._preparer.encoder_input(scene.image)
                yield scene, {"image": prepared.image}, prepared.geometry
            else:
                prepared = self._preparer(scene.image)
                yield scene, {"images": prepared.images}, prepared.geometry
            advance()


def _load(job: Job, form: DetectorSpec | None) -> tuple[SourceNetwork, bool]:
    """The network, and whether it is an encoder, as its inputs and outputs tell."""
    path = job.network
    graph = read_model(path).graph
    given, wanted = ({value.name for value in values} for values in (graph.input, graph.output))
    if "point_coords" in given:
        raise UsageError(f"{path}: wanted an image encoder or a detector, got a mask decoder, which stays float32")
    if "image_embeddings" in wanted:
        told = {"--detector-spec": form, "--size": job.size, "--rescale": job.rescale}
        if wrong := [flag for flag, value in told.items() if value is not None]:
            raise UsageError(f"{wrong[0]}: wanted with a detector, got {path}, an image encoder")
        return load_network(path, ENCODER), True
    return load_detector(path, form, job.size), False


def _preparer(core: SourceNetwork, is_encoder: bool, form: DetectorSpec | None, rescale_px: int | None) -> Preparer:
    """The other network's input is made as small as can be."""
    if is_encoder:
        return Preparer(CELL_PX, CELL_PX, core.dims["E"])
    rescale_px, _ = choose_rescale_px(core, form, rescale_px)
    return detector_preparer(core, rescale_px)


def _held_in_half(halved: onnx.ModelProto, measured: Sequence[Peak]) -> list[Peak]:
    """Those of layers whose numbers some float16 tensor holds."""
    types = tensor_types(halved)
    return [peak for peak in measured if HALF in (types.get(peak.layer), types.get(peak.layer + SUFFIX[HALF]))]


def _layer(measured: Peak, float16: bool) -> LayerReport:
    """JSON knows no infinity."""
    peak, headroom = (value if np.isfinite(value) else None for value in (measured.peak, measured.headroom))
    return LayerReport(measured.layer, measured.op, peak, headroom, float16)


def _stay(model: onnx.ModelProto, halved: onnx.ModelProto, but: set[str]) -> dict[str, int]:
    """How many of each operator stay float32 on their own account."""
    before, after = tensor_types(model), tensor_types(halved)
    stay = Counter(
        node.op_type
        for node in model.graph.node
        if node_key(node) not in but
        and before[node_key(node)] == onnx.TensorProto.FLOAT
        and after.get(node_key(node)) == onnx.TensorProto.FLOAT
        and after.get(node_key(node) + SUFFIX[HALF]) != HALF
    )
    return dict(stay.most_common())


def _check(job: Job) -> None:
    """Raise UsageError for flags that cannot be."""
    if job.count < 1:
        raise UsageError(f"--count: wanted 1 or more, got {job.count}")
    reads = (job.decoder, job.annotations, job.detector_spec)
    check_files(job.out, job.network, "network", reads, None if job.report is None else job.report / REPORT)
