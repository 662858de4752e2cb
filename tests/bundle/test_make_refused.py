"""What no bundle can be made of: one line, and the old bundle stays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.bundle.make import BundleOptions, check_options
from nanoseg.errors import NanosegError
from tests.bundle.folders import content, make, siblings
from tests.helpers.tiny_networks import CLASSES, detector, encoder, sam_decoder


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--confidence", "1.5"], 2, "confidence: wanted 0 to 1, got 1.5"),
        (["--nms", "per-class"], 2, "'per-class' is not one of 'by-class', 'across-classes'"),
        (["--rescale", "65"], 4, "rescale_px: wanted 1 to 64"),
        (["--max-detections", "0"], 4, "max_detections: wanted 1 to 3840, got 0"),
        (["--max-candidates", "3841"], 4, "max_candidates: wanted 1 to 3840, got 3841"),
        (["--labels", "nowhere.txt"], 2, "--labels: nowhere.txt: wanted a text file, found none"),
        (["--labels", "two.txt"], 2, "--labels: wanted 3 labels, one a class of the detector, got 2"),
        (["--labels", "coco"], 2, "--labels: wanted 3 labels, one a class of the detector, got 80"),
        (["--accuracy", "two.txt"], 4, "two.txt: wanted measured accuracy as JSON"),
        (["--detector", "encoder.onnx"], 4, "encoder.onnx: wanted boxes (1, A, 4) and scores (1, A, C), got image_emb"),
        (["--detector", "logits.onnx"], 4, "logits.onnx: wanted scores from 0 to 1, got 0 to 3; for logits"),
        (["--detector-spec", "two.txt"], 2, "two.txt: not TOML"),
        (["--size", "32"], 4, "detector.onnx: wanted an input of 32 px, got one fixed at 64"),
        (
            ["--mask-decoder", "decoder.onnx"],
            4,
            "decoder.onnx: wants the inputs image_embeddings, point_coords, point_",
        ),
        (["--mask-prompts"], 4, "decoder.onnx: wants the inputs image_embeddings, point_coords, point_"),
        (["--mask-decoder", "large_mask.onnx"], 4, "large_mask.onnx: 'image_embeddings' wants (1, 256, 8, 8), but "),
        (["--decoder", "single.onnx", "--masks", "all"], 4, "single.onnx: --masks all wants a decoder of four masks"),
        (["--mask-decoder", "single.onnx", "--mask-prompts"], 2, "--mask-prompts: wanted without --mask-decoder"),
        (["--mask-decoder", "sam.pth"], 2, "--mask-decoder: wanted ONNX; of a checkpoint: --decoder CHECKPOINT"),
        (["--variant", "s"], 2, "--variant: wanted with a checkpoint as --detector, got detector.onnx"),
        (["--pixels", "bgr"], 2, "--pixels: wanted with a checkpoint as --detector, got detector.onnx"),
        (["--encoder-variant", "tiny_vit"], 2, "--encoder-variant: wanted with a checkpoint as --encoder, got enc"),
        (["--encoder-size", "512"], 2, "--encoder-size: wanted with a checkpoint as --encoder or --decoder"),
        (["--detector", "y.pth", "--detector-spec", "f.toml"], 2, "--detector-spec: wanted with an ONNX file"),
        (["--detector", "nowhere.pth"], 4, "nowhere.pth: no such file"),
        (["--encoder", "nowhere.onnx"], 4, "nowhere.onnx: no such file"),
        (["--encoder", "large.onnx"], 4, "wants (1, 256, 4, 4), but large.onnx gives (1, 256, 8, 8)"),
        (
            ["--encoder", "fine.onnx"],
            4,
            "a cell for every 16 px of its input, as SAM's are, got 4 cells a side for 32 px",
        ),
        (["--encoder", "nan.onnx"], 4, "embed.onnx: 'image_embeddings' holds NaN or infinity"),
        (["--encoder", "beyond.onnx"], 4, "embed.onnx: ONNX Runtime failed"),
        (["--decoder", "wrong.onnx"], 4, "segment.onnx: the network in it does not fit together"),
    ],
)
def test_make_failure_keeps_the_old_bundle(
    flags: list[str], code: int, message: str, inputs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("two.txt").write_text("nut\nbolt\n")
    for name in ("sam.pth", "y.pth"):
        Path(name).write_bytes(b"")
    encoder(Path("large.onnx"), grid=8)
    encoder(Path("fine.onnx"), cell_px=8)
    sam_decoder(Path("single.onnx"), single=True)
    large = onnx.load(sam_decoder(Path("large_mask.onnx")))
    for side in large.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 8
    onnx.save(large, "large_mask.onnx")
    logits = np.linspace(0, 3, 20 * CLASSES).reshape(20, CLASSES)
    detector(Path("logits.onnx"), np.tile([[1, 2, 30, 40]], (20, 1)), logits)
    nan = onnx.load("encoder.onnx")
    nan.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((256, 3, 16, 16), np.nan, np.float32), "weight")
    )
    onnx.save(nan, "nan.onnx")
    wrong = onnx.load("decoder.onnx")
    sizes = next(tensor for tensor in wrong.graph.initializer if tensor.name == "weights_shape")
    sizes.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 4, 31]), "weights_shape"))
    onnx.save(wrong, "wrong.onnx")
    beyond = onnx.load("encoder.onnx")
    beyond.graph.node[0].output[0] = "map"
    beyond.graph.node.append(onnx.helper.make_node("Gather", ["map", "channels"], ["image_embeddings"], axis=1))
    beyond.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(256) + 1, "channels"))
    onnx.save(beyond, "beyond.onnx")
    assert make([*inputs, "--out", "nuts"]) == 0
    before, names = content(tmp_path / "nuts"), sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert make([*inputs, "--out", "nuts", *flags]) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("nanoseg: error: ")
    assert message in last
    assert content(tmp_path / "nuts") == before
    assert sorted(tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 2.0}, "confidence: wanted 0 to 1, got 2.0"),
        ({"labels": "nowhere.txt"}, "--labels: nowhere.txt: wanted a text file"),
        ({"accuracy": Path("nowhere.json")}, "nowhere.json: wanted measured accuracy"),
        ({"detector_spec": Path("nowhere.toml")}, "nowhere.toml: cannot be read"),
    ],
)
def test_make_check_options_refuses(change: dict[str, object], message: str, tmp_path: Path) -> None:
    """Before an export, which takes minutes; the folder is left as it was."""
    options = BundleOptions(Path("d.pt"), Path("e.pt"), Path("m.pt"), "nuts")
    with pytest.raises(NanosegError) as error:
        check_options(replace(options, **change), tmp_path / "a" / "b" / "nuts")
    assert message in str(error.value)
    check_options(options, tmp_path / "a" / "b" / "nuts")
    assert siblings(tmp_path) == []


def test_make_missing_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(["--out", str(tmp_path / "nuts"), "--encoder", "e.onnx"]) == 2
    assert "--detector, --decoder: wanted a file each, ONNX or a checkpoint, got none" in capsys.readouterr().err
    assert make(["--restore", "--out", str(tmp_path / "nuts")]) == 4
