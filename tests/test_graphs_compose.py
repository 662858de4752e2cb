"""What a composed graph says of itself, and what is told of the networks of one bundle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.graphs.compose import Networks, precision_of
from nanoseg.graphs.form import DetectorForm, FormInput, FormOutputs
from nanoseg.graphs.simplify import not_in_tensorrt
from tests.tiny_networks import decoder, encoder, some_detector


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
def test_precision_is_what_most_weights_have(half: int, single: int, precision: str, raw: bool) -> None:
    assert precision_of(graph(half, single, raw)) == precision


def test_a_graph_with_dequantized_weights_is_int8() -> None:
    assert precision_of(graph(0, 9, ops=("DequantizeLinear",))) == "int8"


def test_operators_that_tensorrt_lacks_are_named_once() -> None:
    assert not_in_tensorrt(graph(0, 0, ops=("OneHot", "Relu", "If", "OneHot"))) == ["If", "OneHot"]
    assert not_in_tensorrt(graph(0, 0)) == []


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Networks]:
    """Networks with these metadata: load(detector={...}, encoder={...}, decoder={...}, form=...)."""
    paths = {
        "detector": some_detector(tmp_path / "detector.onnx"),
        "encoder": encoder(tmp_path / "encoder.onnx"),
        "decoder": decoder(tmp_path / "decoder.onnx", mask_input=True),
    }

    def make(side: int = 64, form: DetectorForm | None = None, **metadata: dict[str, str]) -> Networks:
        for name, path in paths.items():
            model = onnx.load(path)
            if name == "detector":
                for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
                    dim.dim_value = side
            del model.metadata_props[:]
            helper.set_model_props(model, metadata.get(name, {}))
            onnx.save(model, path)
        return Networks.load(paths["detector"], paths["encoder"], paths["decoder"], form=form)

    return make


PAIR = FormOutputs(boxes="boxes", scores="scores")
WITHOUT, WITH_640 = (DetectorForm(FormInput(rescale_px=px), PAIR) for px in (None, 640))
NAS = {"architecture": "yolo_nas_s"}


@pytest.mark.parametrize(
    ("side", "form", "told", "wanted", "px", "why"),
    [
        (640, None, {}, None, 636, "as is usual for YOLO-NAS; --rescale PX tells otherwise"),
        (320, None, {}, None, 320, "as is usual for YOLO-NAS"),
        (640, None, {"rescale_px": "640"}, None, 640, "as its file says"),
        (640, None, {"rescale_px": "640"}, 630, 630, "as --rescale says"),
        (640, WITHOUT, {}, None, 640, "all of it; rescale_px in --detector-form tells otherwise"),
        (640, WITHOUT, NAS, None, 636, "as is usual for YOLO-NAS"),
        (640, WITHOUT, NAS | {"rescale_px": "640"}, None, 640, "as its file says"),
        (640, WITH_640, NAS | {"rescale_px": "636"}, None, 640, "as --detector-form says"),
        (640, WITH_640, NAS, 600, 600, "as --rescale says"),
    ],
)
def test_how_far_the_frame_is_scaled(
    side: int, form: DetectorForm | None, told: dict[str, str], wanted: int | None, px: int, why: str,
    load: Callable[..., Networks],
) -> None:  # fmt: skip
    networks = load(side, form, detector=told)
    assert networks.rescale_px(wanted) == px
    assert networks.rescale_note(wanted).startswith(
        f"the frame's longer side becomes {px} of the detector's {side} px, {why}"
    )


@pytest.mark.parametrize(
    ("form", "told", "noted"),
    [
        (None, {}, True),
        (None, NAS, True),
        (None, NAS | {"pixels_told": "RGB in 0..1"}, False),
        (WITHOUT, {}, False),
    ],
)
def test_pixels_that_nobody_told(
    form: DetectorForm | None, told: dict[str, str], noted: bool, load: Callable[..., Networks]
) -> None:
    notes = [note for note in load(form=form, detector=told).notes() if "taken for RGB in 0..1" in note]
    assert len(notes) == noted
    assert all("--pixels" in note and "--detector-form" in note for note in notes)


@pytest.mark.parametrize(
    ("reads", "gives", "said"),
    [
        ("sam_mask_decoder", "mobile_sam_tiny_vit", None),
        ("", "nanosam_resnet18", None),
        ("sam_vit_b_mask_decoder", "", "note"),
        ("sam_vit_l_mask_decoder", "sam_vit_l", "note"),
        ("sam_vit_b_mask_decoder", "mobile_sam_tiny_vit", "refused"),
        ("sam_vit_l_mask_decoder", "nanosam_resnet18", "refused"),
    ],
)
def test_a_decoder_that_reads_only_its_own_encoder(
    reads: str, gives: str, said: str | None, load: Callable[..., Networks]
) -> None:
    told = {"decoder": {"architecture": reads}, "encoder": {"architecture": gives}}
    if said == "refused":
        with pytest.raises(BundleError, match=r"decoder\.onnx: .* those of SAM vit_[bl]'s own encoder; take Mobile"):
            load(**told)
        return
    notes = [note for note in load(**told).notes() if "own encoder" in note]
    assert len(notes) == (said == "note")
    assert all(f"of SAM {reads[4:9]}'s own encoder" in note for note in notes)
