"""Composed graphs: their precision and types, and the notes on a bundle's networks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec, InputSpec, OutputSpec
from nanoseg.onnx_graphs.deploy.compose import Networks, precision_of
from nanoseg.onnx_graphs.deploy.float32 import float32_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.shapes import dtype_of
from nanoseg.onnx_graphs.model.simplify import unsupported_operators
from tests.helpers.onnx_run import run_unfused
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import FLOAT, HALF, PLAIN_GEOMETRY, decoder, encoder, some_detector

INT32 = onnx.TensorProto.INT32


def graph(half: int, single: int, raw: bool = True, ops: tuple[str, ...] = ("Relu",)) -> onnx.ModelProto:
    """Weights of so many numbers in float16 and float32, and nodes of these operators."""
    arrays = {"half": np.ones(half, np.float16), "single": np.ones(single, np.float32)}
    weights = [
        numpy_helper.from_array(array, name) if raw else helper.make_tensor(name, kind, array.shape, array)
        for (name, array), kind in zip(arrays.items(), (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT), strict=True)
    ]
    return helper.make_model(
        helper.make_graph([helper.make_node(op, ["x"], ["y"]) for op in ops], "g", [], [], weights)
    )


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("half", "single", "precision"), [(0, 0, "fp32"), (0, 9, "fp32"), (9, 0, "fp16"), (10, 9, "fp16"), (9, 10, "fp32")]
)
def test_compose_precision_of_most_weights(half: int, single: int, precision: str, raw: bool) -> None:
    assert precision_of(graph(half, single, raw)) == precision


def test_compose_precision_with_qdq_is_int8() -> None:
    assert precision_of(graph(0, 9, ops=("DequantizeLinear",))) == "int8"


@pytest.mark.parametrize(("half", "single"), [(0, 0), (1, 9)])
def test_compose_precision_of_a_float16_input(half: int, single: int) -> None:
    model = graph(half, single)
    model.graph.input.append(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, [1]))
    assert precision_of(model) == "fp16"


def test_compose_lists_unsupported_operators_once() -> None:
    assert unsupported_operators(graph(0, 0, ops=("OneHot", "Relu", "If", "OneHot"))) == ["If", "OneHot"]
    assert unsupported_operators(graph(0, 0)) == []


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Networks]:
    """Networks with these metadata: load(detector={...}, encoder={...}, decoder={...}, detector_spec=...)."""
    paths = {
        "detector": some_detector(tmp_path / "detector.onnx"),
        "encoder": encoder(tmp_path / "encoder.onnx"),
        "decoder": decoder(tmp_path / "decoder.onnx", mask_input=True),
    }

    def make(side: int = 64, detector_spec: DetectorSpec | None = None, **metadata: dict[str, str]) -> Networks:
        for name, path in paths.items():
            model = onnx.load(path)
            if name == "detector":
                for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
                    dim.dim_value = side
            del model.metadata_props[:]
            helper.set_model_props(model, metadata.get(name, {}))
            onnx.save(model, path)
        return Networks.load(paths["detector"], paths["encoder"], paths["decoder"], detector_spec=detector_spec)

    return make


PAIR = OutputSpec(boxes="boxes", scores="scores")
WITHOUT, WITH_640 = (DetectorSpec(InputSpec(rescale_px=px), PAIR) for px in (None, 640))
NAS = {"architecture": "yolo_nas_s"}


@pytest.mark.parametrize(
    ("side", "spec", "metadata", "wanted", "px", "reason"),
    [
        (640, None, {}, None, 636, "as is usual for YOLO-NAS; change it with --rescale PX"),
        (320, None, {}, None, 320, "as is usual for YOLO-NAS"),
        (640, None, {"rescale_px": "640"}, None, 640, "as its file says"),
        (640, None, {"rescale_px": "640"}, 630, 630, "as --rescale says"),
        (640, WITHOUT, {}, None, 640, "all of it; change it with rescale_px in --detector-spec"),
        (640, WITHOUT, NAS, None, 636, "as is usual for YOLO-NAS"),
        (640, WITHOUT, NAS | {"rescale_px": "640"}, None, 640, "as its file says"),
        (640, WITH_640, NAS | {"rescale_px": "636"}, None, 640, "as --detector-spec says"),
        (640, WITH_640, NAS, 600, 600, "as --rescale says"),
    ],
)
def test_compose_chooses_rescale_px(
    side: int, spec: DetectorSpec | None, metadata: dict[str, str], wanted: int | None, px: int, reason: str,
    load: Callable[..., Networks],
) -> None:  # fmt: skip
    networks = load(side, spec, detector=metadata)
    assert networks.rescale_px(wanted) == px
    assert networks.rescale_note(wanted).startswith(
        f"the frame's longer side becomes {px} of the detector's {side} px, {reason}"
    )


@pytest.mark.parametrize(
    ("spec", "metadata", "noted"),
    [
        (None, {}, True),
        (None, NAS, True),
        (None, NAS | {"pixels_told": "RGB in 0..1"}, False),
        (WITHOUT, {}, False),
    ],
)
def test_compose_notes_undescribed_pixels(
    spec: DetectorSpec | None, metadata: dict[str, str], noted: bool, load: Callable[..., Networks]
) -> None:
    notes = [note for note in load(detector_spec=spec, detector=metadata).notes() if "RGB in 0..1 is assumed" in note]
    assert len(notes) == noted
    assert all("--pixels" in note and "--detector-spec" in note for note in notes)


@pytest.mark.parametrize(
    ("decoder_name", "encoder_name", "outcome"),
    [
        ("sam_mask_decoder", "mobile_sam_tiny_vit", None),
        ("", "nanosam_resnet18", None),
        ("sam_vit_b_mask_decoder", "", "note"),
        ("sam_vit_l_mask_decoder", "sam_vit_l", "note"),
        ("sam_vit_b_mask_decoder", "mobile_sam_tiny_vit", "refused"),
        ("sam_vit_l_mask_decoder", "nanosam_resnet18", "refused"),
    ],
)
def test_compose_checks_the_decoders_encoder(
    decoder_name: str, encoder_name: str, outcome: str | None, load: Callable[..., Networks]
) -> None:
    metadata = {"decoder": {"architecture": decoder_name}, "encoder": {"architecture": encoder_name}}
    if outcome == "refused":
        with pytest.raises(BundleError, match=r"decoder\.onnx: .* those of SAM vit_[bl]'s own encoder; take Mobile"):
            load(**metadata)
        return
    notes = [note for note in load(**metadata).notes() if "own encoder" in note]
    assert len(notes) == (outcome == "note")
    assert all(f"of SAM {decoder_name[4:9]}'s own encoder" in note for note in notes)


def plain(path: Path, images: str) -> None:
    """As it was exported."""


def converted(path: Path, images: str) -> None:
    onnx.save(to_fp16(onnx.load(path), keep={"boxes", "scores"}), path)


def read_twice(path: Path, images: str) -> None:
    """Float16, but somebody wants the picture in float32, too."""
    converted(path, images)
    model = onnx.load(path)
    last = model.graph.output[0].name
    maker = next(node for node in model.graph.node if last in node.output)
    maker.output[0] = "before"
    model.graph.node.append(helper.make_node("ReduceMin", [images], ["darkest"], keepdims=0))
    model.graph.node.append(helper.make_node("Mul", ["darkest", "nothing"], ["none"]))
    model.graph.node.append(helper.make_node("Add", ["before", "none"], [last]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    onnx.save(model, path)


def cast_otherwise(path: Path, images: str) -> None:
    """A Cast comes first, but not to float16."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["again" if name == images else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", [images], ["again"], to=onnx.TensorProto.FLOAT))
    onnx.save(model, path)


FORMS = {
    plain: (FLOAT, "fp32"),
    converted: (HALF, "fp16"),
    read_twice: (FLOAT, "fp16"),
    cast_otherwise: (FLOAT, "fp32"),
}


@pytest.mark.parametrize(
    ("of_detector", "quantized", "of_encoder"),
    [
        (plain, False, converted),
        (plain, True, converted),
        (converted, False, plain),
        (converted, True, converted),
        (read_twice, False, cast_otherwise),
        (cast_otherwise, True, read_twice),
    ],
)
def test_compose_passes_images_in_the_networks_type(of_detector, quantized: bool, of_encoder, tmp_path: Path) -> None:
    """A Cast to float16 that alone reads a picture goes; the answers are those of the files."""
    detector = quantized_detector(tmp_path / "detector.onnx", 19)
    if not quantized:
        detector.write_bytes(float32_graph(detector))
    eye = encoder(tmp_path / "encoder.onnx")
    of_detector(detector, "images")
    of_encoder(eye, "image")
    networks = Networks.load(detector, eye, decoder(tmp_path / "decoder.onnx", mask_input=True))
    graphs = networks.graphs(60, 48, False)
    given = {value.name: dtype_of(value) for value in graphs["prepare"].graph.output}
    taken = {value.name: dtype_of(value) for name in ("detect", "embed") for value in graphs[name].graph.input}
    for name, (dtype, precision), graph in (
        ("images", FORMS[of_detector], "detect"),
        ("image", FORMS[of_encoder], "embed"),
    ):
        assert given[name] == taken[name] == dtype
        wanted = "int8" if quantized and graph == "detect" else precision
        assert precision_of(graphs[graph]) == wanted
    assert {dtype_of(value) for graph in graphs.values() for value in graph.graph.output} <= {FLOAT, HALF, INT32}
    assert dtype_of(graphs["embed"].graph.output[0]) == FLOAT
    assert precision_of(graphs["prepare"]) == precision_of(graphs["segment"]) == "fp32"
    frame = np.random.default_rng(0).integers(0, 256, (1, 50, 64, 3), np.uint8)
    prepared = run_unfused(graphs["prepare"], frame=frame)
    wanted = run_unfused(detector, images=prepared["images"].astype(np.float32))
    thresholds = {"confidence": np.float32(-1), "iou": np.float32(1)}
    rows = run_unfused(
        graphs["detect"],
        images=prepared["images"],
        geometry=PLAIN_GEOMETRY,
        **{name: np.array(value) for name, value in thresholds.items()},
    )
    np.testing.assert_array_equal(rows["scores"], -np.sort(-wanted["scores"].ravel()))
    assert len(np.unique(rows["scores"])) > 20
    wanted = run_unfused(eye, image=prepared["image"].astype(np.float32))
    got = run_unfused(graphs["embed"], image=prepared["image"])
    np.testing.assert_array_equal(got["image_embeddings"], wanted["image_embeddings"])
