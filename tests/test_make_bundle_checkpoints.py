"""make_bundle of checkpoints: which of the export tools it asks for what."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from nanoseg.bundle import open_bundle
from tests.tiny_networks import decoder, encoder, sam_decoder, some_detector
from tools import make_bundle


class Exporters:
    """Stands for the three export tools: each call is noted, and answered with a tiny network."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, object]] = {}

    def __call__(self, name: str) -> SimpleNamespace:
        make = {"detector": some_detector, "encoder": encoder, "decoder": decoder}[name]

        def export_checkpoint(checkpoint: Path, out: Path, **options: object) -> Path:
            self.asked[name] = {"checkpoint": checkpoint.name, **options}
            out.parent.mkdir()
            if "mask_out" in options:
                options["mask_out"].parent.mkdir()
                sam_decoder(options["mask_out"])
            return make(out)

        return SimpleNamespace(export_checkpoint=export_checkpoint)


def test_checkpoints_are_exported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporters = Exporters()
    monkeypatch.setattr(make_bundle, "exporter", exporters)
    monkeypatch.chdir(tmp_path)
    for name in ("nas.pth", "mobile_sam.pt"):
        Path(name).write_bytes(b"")
    flags = ["--detector", "nas.pth", "--encoder", "mobile_sam.pt", "--decoder", "mobile_sam.pt"]
    flags += ["--labels", "nut,bolt,washer"]
    out = tmp_path / "nuts"
    assert make_bundle.main([*flags, "--out", str(out)]) == 0
    unsaid = {"variant": None, "size_px": None}
    assert exporters.asked == {
        "detector": {"checkpoint": "nas.pth", "pixels": None, **unsaid},
        "encoder": {"checkpoint": "mobile_sam.pt", **unsaid},
        "decoder": {"checkpoint": "mobile_sam.pt", "size_px": None},
    }
    assert list(open_bundle(out).graphs) == ["prepare", "detect", "embed", "segment"]
    flags += ["--variant", "m", "--size", "64", "--pixels", "bgr", "--encoder-variant", "tiny_vit"]
    flags += ["--encoder-size", "64", "--mask-prompts"]
    assert make_bundle.main([*flags, "--out", str(out)]) == 0
    scratch = exporters.asked["decoder"].pop("mask_out").parent
    assert scratch.name == "mask_decoder"
    assert exporters.asked == {
        "detector": {"checkpoint": "nas.pth", "pixels": "bgr", "variant": "m", "size_px": 64},
        "encoder": {"checkpoint": "mobile_sam.pt", "variant": "tiny_vit", "size_px": 64},
        "decoder": {"checkpoint": "mobile_sam.pt", "size_px": 64},
    }
    made = open_bundle(out)
    assert list(made.graphs)[-1] == "segment_mask"
    assert [made.networks[name].architecture for name in ("detector", "encoder")] == ["nas", "mobile_sam"]
    assert not scratch.parent.exists()
