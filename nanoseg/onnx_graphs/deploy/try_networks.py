"""Try a bundle's networks on images: as stored against as a CPU runs them, and whether they see anything at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from nanoseg.onnx_graphs.deploy.agreement import MAX_ERROR, compare_detections, is_dead, match_rows, relative_error
from nanoseg.onnx_graphs.deploy.compose import Networks, precision_of
from nanoseg.onnx_graphs.deploy.float32 import emulated_model, float32_model
from nanoseg.onnx_graphs.deploy.validate import decoder_prompts, run_checked
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.run import BASIC, Session

MIN_IMAGES = 3  # fewer are no proof that a network sees nothing; encoder and decoders are tried on no more
_PROMPT_SHIFT = 200.0
Feeds = Mapping[str, np.ndarray]


def try_networks(
    networks: Networks, prepare: Path, images: Sequence[np.ndarray], progress: Callable[[str], None]
) -> list[str]:
    """Run every network on images and return what is wrong with their outputs, one line each.

    Args:
        networks: the networks.
        prepare: the file of their prepare graph, as OpenCV need not be installed here.
        images: (H, W, 3) uint8 BGR, different ones.
        progress: called with the difference that rounding makes, one line for each reduced network.

    Raises:
        BundleError: a network does not run, or an output is not finite.
    """
    session = Session(prepare, prepare.name, BASIC)
    inputs = [run_checked(session, prepare.name, {"frame": image[None]}) for image in images]
    detector, encoder = _Trial("detector", networks.detector), _Trial("encoder", networks.encoder)
    for each in inputs if detector.is_reduced else inputs[:MIN_IMAGES]:
        detector.run({"images": each["images"].astype(np.float32)})
    detector.judge_detector()
    for each in inputs[:MIN_IMAGES]:
        encoder.run({"image": each["image"].astype(np.float32)})
    encoder.judge("image_embeddings", "for every image")
    trials = [detector, encoder]
    for name, network in zip(("decoder", "mask_decoder"), networks.decoders, strict=False):
        decoder = _Trial(name, network)
        decoder.try_prompts([each["image_embeddings"] for each in encoder.exact])
        trials.append(decoder)
    for trial in trials:
        if trial.note:
            progress(f"{trial.path}: as stored, {trial.note}")
    return [f"{trial.name}: {problem}" for trial in trials for problem in trial.problems]


class _Trial:
    """A network in both forms, and its outputs by image."""

    def __init__(self, name: str, network: SourceNetwork) -> None:
        self.name, self.path, self._model = name, str(network.path), network.model
        self.exact: list[dict[str, np.ndarray]] = []
        self.stored: list[dict[str, np.ndarray]] = []
        self.problems: list[str] = []
        self.note = ""
        self.is_reduced = is_reduced(network.model)
        model = network.model
        self._stored = Session(emulated_model(_copy(model)) if self.is_reduced else model, self.path, BASIC)
        self._exact = Session(float32_model(_copy(model)), self.path, BASIC) if self.is_reduced else self._stored

    def run(self, feeds: Feeds) -> None:
        """Run one image, or one prompt of it, through both forms."""
        self.stored.append(run_checked(self._stored, self.path, feeds))
        self.exact.append(run_checked(self._exact, self.path, feeds) if self.is_reduced else self.stored[-1])

    def judge_detector(self) -> None:
        """Judge scores, and where the network is reduced, boxes."""
        scores = [each["scores"] for each in self.stored]
        if self._is_dead(scores, [each["scores"] for each in self.exact]):
            self.problems.append(f"its scores are {self._constant('scores')}for every image{self._reason()}")
        elif self.is_reduced:
            found = compare_detections(*_detections(self.exact, self.stored))
            self.note = str(found)
            problem = found.problem
            if not problem and is_dead(scores):
                problem = f"its scores are {self._constant('scores')}for every image, and differ without the rounding"
            if problem:
                self.problems.append(f"rounding spoils it: as stored, {problem}")

    def judge(self, output: str, when: str) -> None:
        """Judge an output that has to depend on what was run."""
        stored, exact = ([each[output] for each in outputs] for outputs in (self.stored, self.exact))
        if self._is_dead(stored, exact):
            self.problems.append(f"'{output}' is {self._constant(output)}{when}{self._reason()}")
        elif self.is_reduced:
            error = relative_error(exact, stored)
            self.note = f"'{output}' differs by {error:.1%} from the outputs without rounding"
            if error > MAX_ERROR:
                self.problems.append(
                    f"rounding spoils it: as stored, '{output}' differs by {error:.0%} from the outputs without "
                    f"rounding, wanted at most {MAX_ERROR:.0%}"
                )

    def try_prompts(self, embeddings: Sequence[np.ndarray]) -> None:
        """Run a decoder on these embeddings, and with two prompts on the first."""
        fixed = self._stored.inputs["point_coords"][0]
        n, side = fixed if isinstance(fixed, int) else 1, embeddings[0].shape[2]
        first, second = (decoder_prompts(self._stored, n, side, shift) for shift in (0, _PROMPT_SHIFT))
        for embedding in embeddings:
            self.run({"image_embeddings": embedding, **first})
        if not is_dead(embeddings):  # else the encoder is at fault
            self.judge("low_res_masks", "for every image")
        self.run({"image_embeddings": embeddings[0], **second})
        masks = [self.stored[index]["low_res_masks"] for index in (0, -1)]
        if not self.problems and is_dead(masks):
            self.problems.append(f"'low_res_masks' is {self._constant('low_res_masks')}for every prompt")

    def _is_dead(self, stored: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> bool:
        """Return whether a network is dead, and not only by rounding in a way that the comparison describes better."""
        return is_dead(stored) and (is_dead(exact) or not self.is_reduced)

    def _constant(self, output: str) -> str:
        values = self.stored[0][output]
        return "0 " if not values.any() else "the same "

    def _reason(self) -> str:
        return ": all its weights are 0" if _weights_are_zero(self._model) else ""


def is_reduced(model: onnx.ModelProto) -> bool:
    """Return whether a network computes in less than float32 anywhere."""
    return precision_of(model) != "fp32" or any(
        weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer
    )


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _detections(*forms: Sequence[Mapping[str, np.ndarray]]) -> list[list[tuple[np.ndarray, ...]]]:
    """Return boxes (A, 4), scores (A, C) and, of poses, keypoints (A, J, 3) by form and image.

    Rows of end-to-end detectors are in one order, C = 1.
    """
    if "class_ids" not in forms[0][0]:
        names = [name for name in ("boxes", "scores", "keypoints") if name in forms[0][0]]
        return [[tuple(each[name][0] for name in names) for each in outputs] for outputs in forms]
    rows = [[(each["boxes"][0], each["scores"][0], each["class_ids"][0]) for each in outputs] for outputs in forms]
    rows[1] = [match_rows(exact, stored) for exact, stored in zip(*rows, strict=True)]
    return [[(boxes, scores[:, None]) for boxes, scores, _ in form] for form in rows]


def _weights_are_zero(model: onnx.ModelProto) -> bool:
    weights = [numpy_helper.to_array(weight) for weight in model.graph.initializer if len(weight.dims) > 1]
    return bool(weights) and not any(weight.any() for weight in weights)
