"""`nanoseg bundle make` of checkpoints: the arguments that it exports them with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nanoseg.bundle import open_bundle
from nanoseg.commands.bundle import make as make_command
from tests.bundle.folders import make
from tests.helpers.tiny_networks import decoder, encoder, sam_decoder, some_detector


class Exporters:
    """Fakes of the three export functions: each records its arguments and writes a tiny network."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, object]] = {}

    def __call__(self, name: str) -> Callable[..., Path]:
        make = {"detector": some_detector, "encoder": encoder, "decoder": decoder}[name]

        def export(checkpoint: Path, out: Path, **options: object) -> Path:
            self.calls[name] = {"checkpoint": checkpoint.name, **options}
            out.parent.mkdir()
            if "mask_out" in options:
                options["mask_out"].parent.mkdir()
                sam_decoder(options["mask_out"])
            return make(out)

        return export


def test_make_exports_checkpoints_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exporters = Exporters()
    monkeypatch.setattr(make_command, "exporter", exporters)
    monkeypatch.chdir(tmp_path)
    for name in ("nas.pth", "mobile_sam.pt"):
        Path(name).write_bytes(b"")
    flags = ["--detector", "nas.pth", "--encoder", "mobile_sam.pt", "--decoder", "mobile_sam.pt"]
    flags += ["--labels", "nut,bolt,washer"]
    out = tmp_path / "nuts"
    assert make([*flags, "--out", str(out)]) == 0
    assert "\nnas.pth: its pixels are not described" in capsys.readouterr().err  # not the file in the scratch folder
    names = {"labels": "nut,bolt,washer"}
    unsaid = {"variant": None, "size_px": None}
    assert exporters.calls == {
        "detector": {"checkpoint": "nas.pth", "pixels": None, "keypoints": None, **unsaid, **names},
        "encoder": {"checkpoint": "mobile_sam.pt", **unsaid},
        "decoder": {"checkpoint": "mobile_sam.pt", "size_px": None},
    }
    assert list(open_bundle(out).graphs) == ["prepare", "detect", "embed", "segment"]
    flags += ["--variant", "m", "--size", "64", "--pixels", "bgr", "--encoder-variant", "tiny_vit"]
    flags += ["--keypoints", "coco", "--encoder-size", "64", "--mask-prompts"]
    assert make([*flags, "--out", str(out)]) == 0
    scratch = exporters.calls["decoder"].pop("mask_out").parent
    assert scratch.name == "mask_decoder"
    assert exporters.calls == {
        "detector": {
            "checkpoint": "nas.pth",
            "pixels": "bgr",
            "keypoints": "coco",
            "variant": "m",
            "size_px": 64,
            **names,
        },
        "encoder": {"checkpoint": "mobile_sam.pt", "variant": "tiny_vit", "size_px": 64},
        "decoder": {"checkpoint": "mobile_sam.pt", "size_px": 64},
    }
    made = open_bundle(out)
    assert list(made.graphs)[-1] == "segment_mask"
    assert [made.networks[name].architecture for name in ("detector", "encoder")] == ["nas", "mobile_sam"]
    assert not scratch.parent.exists()


WRONG = {
    "labels that are not there": (["--labels", "nowhere.txt"], 2, "--labels: nowhere.txt: wanted a text file"),
    "a confidence beyond 1": (["--confidence", "1.5"], 2, "confidence: wanted 0 to 1, got 1.5"),
    "an overlap below 0": (["--iou", "-1"], 2, "iou: wanted 0 to 1, got -1"),
    "no accuracy": (["--accuracy", "nas.pth"], 4, "nas.pth: wanted measured accuracy as JSON"),
    "a form that is not TOML": (["--detector", "d.onnx", "--detector-spec", "mobile_sam.pt"], 2, "wanted UTF-8 text"),
    "something else in the way": (["--out", "photos"], 2, "photos: wanted a bundle to replace, or nothing"),
    "below a file": (["--out", "nas.pth/nuts"], 2, "nas.pth/nuts: cannot be written"),
    "an ONNX file that is not there": (["--decoder", "nowhere.onnx"], 4, "nowhere.onnx: no such file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_make_checks_options_before_an_export(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, code, text = WRONG[case]
    exporters = Exporters()
    monkeypatch.setattr(make_command, "exporter", exporters)
    monkeypatch.chdir(tmp_path)
    for name in ("nas.pth", "mobile_sam.pt"):
        Path(name).write_bytes(b"\xff")
    some_detector(Path("d.onnx"))
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_text("cat")
    files = ["--detector", "nas.pth", "--encoder", "mobile_sam.pt", "--decoder", "mobile_sam.pt"]
    before = sorted(tmp_path.rglob("*"))
    assert make([*files, "--labels", "nut,bolt,washer", "--out", "nuts", *flags]) == code
    assert text in capsys.readouterr().err.splitlines()[-1]
    assert exporters.calls == {}
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_make_labels_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that names another count of classes than it has: the flag mends it."""
    torch = pytest.importorskip("torch", reason="needs nanoseg[export]")
    from tests.helpers import yolo_nas_files

    path = tmp_path / "nas.pth"
    torch.save({"model": yolo_nas_files.state(), "labels": ["nut"]}, path)
    files = ["--detector", str(path), "--encoder", str(encoder(tmp_path / "e.onnx"))]
    files += ["--decoder", str(decoder(tmp_path / "d.onnx")), "--out", str(tmp_path / "nuts")]
    assert make([*files, "--labels", "nut,bolt"]) == 2
    assert "--labels: wanted 3 names, one per class of" in capsys.readouterr().err
    assert make([*files, "--labels", "nut,bolt,washer", "--size", "64"]) == 0
    assert open_bundle(tmp_path / "nuts").labels == ("nut", "bolt", "washer")
