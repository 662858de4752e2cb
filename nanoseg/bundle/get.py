"""Make the COCO bundle of published files, without torch: their weights fill the networks that the package ships."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nanoseg.bundle.bundle import Bundle, open_bundle
from nanoseg.bundle.install import ADVICE, bundle_scratch
from nanoseg.bundle.labels import COCO
from nanoseg.bundle.make import BundleOptions, make_bundle
from nanoseg.bundle.user_folder import COCO_BUNDLE
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.skeletons.fill import fill_skeleton
from nanoseg.utils.files import write_errors
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.leftovers import WORK
from nanoseg.weights.read import read_weights

SAM_WEIGHTS = "mobile-sam"  # of the mask decoder, and of MobileSAM's own encoder
RESCALE_PX = 636  # the longer side of a frame in YOLO-NAS's 640 px, as its publisher evaluates it


@dataclass(frozen=True)
class Encoder:
    """An image encoder that can be had: the names of its published weights, of its skeleton, and for people."""

    weights: str
    architecture: str
    title: str
    skeleton: str | None = None  # None: the published file is ONNX


ENCODERS: Mapping[str, Encoder] = {
    "mobile-sam": Encoder("mobile-sam", "mobile_sam_tiny_vit", "MobileSAM", "mobile_sam_tiny_vit"),
    "nanosam": Encoder("nanosam-encoder", "resnet18_image_encoder", "NanoSAM"),
}


@dataclass(frozen=True)
class CocoNetworks:
    """The networks of a COCO bundle."""

    size: str = "s"  # of YOLO-NAS: s, m or l
    encoder: str = "mobile-sam"  # a key of ENCODERS

    @property
    def weights(self) -> list[str]:
        """The names of the published weights that it is made of."""
        return list(dict.fromkeys([f"yolo-nas-{self.size}", ENCODERS[self.encoder].weights, SAM_WEIGHTS]))

    @property
    def title(self) -> str:
        """The networks' names."""
        return f"YOLO-NAS {self.size.upper()}, {ENCODERS[self.encoder].title}'s encoder, MobileSAM's decoder"

    @property
    def architectures(self) -> dict[str, str]:
        """The architectures in bundle.toml."""
        return {
            "detector": f"yolo_nas_{self.size}",
            "encoder": ENCODERS[self.encoder].architecture,
            "decoder": "sam_mask_decoder",
        }


def find_coco(out: Path, size: str | None, encoder: str | None) -> Bundle | None:
    """Return the COCO bundle at `out`, if it is whole and of these networks; None accepts any."""
    try:
        bundle = open_bundle(out) if out.is_dir() else None
    except BundleError:
        return None
    if bundle is None:
        return None
    found = {name: network.architecture for name, network in bundle.networks.items()}
    fits = any(
        CocoNetworks(each_size, each).architectures == found
        for each_size in ("sml" if size is None else size)
        for each in (ENCODERS if encoder is None else [encoder])
    )
    return bundle if fits else None


def make_coco(
    networks: CocoNetworks,
    files: Mapping[str, Path],
    licence: str,
    out: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Fill the networks, compose a bundle of them at `out` and run it; a bundle that was there is kept as a backup.

    Args:
        networks: Which networks.
        files: The published files by the names of their weights.
        licence: For bundle.toml.
        out: The bundle's folder.
        progress: Called with a description of each step.

    Raises:
        BundleError: A file holds other weights than it should; `out` is as it was before.
        UsageError: `out` cannot be written.
    """
    out = out.absolute()
    encoder = ENCODERS[networks.encoder]
    detector, sam = files[f"yolo-nas-{networks.size}"], files[SAM_WEIGHTS]
    with bundle_scratch(out) as folder, write_errors(out, ADVICE):
        scratch = folder / WORK
        progress(f"filling YOLO-NAS {networks.size.upper()} with {detector.name}")
        # These are known to be trained on RGB in 0..1, which a bare state_dict does not say.
        described = {"labels": json.dumps(COCO), "pixels_told": "yes", "rescale_px": str(RESCALE_PX)}
        detector_onnx = fill_skeleton(
            f"yolo_nas_{networks.size}",
            read_weights(detector),
            scratch / "detector.onnx",
            origin=_origin(detector),
            metadata=described,
        )
        progress(f"filling SAM's decoder with {sam.name}")
        weights, origin = read_weights(sam), _origin(sam)
        decoder_onnx = fill_skeleton("sam_mask_decoder", weights, scratch / "decoder.onnx", origin=origin)
        encoder_onnx = files[encoder.weights]
        if encoder.skeleton is not None:
            progress(f"filling {encoder.title}'s encoder with {sam.name}")
            encoder_onnx = fill_skeleton(encoder.skeleton, weights, scratch / "encoder.onnx", origin=origin)
        options = BundleOptions(
            detector=detector_onnx,
            encoder=encoder_onnx,
            decoder=decoder_onnx,
            name=COCO_BUNDLE,
            labels="coco",
            licence=licence,
            description=f"COCO's 80 classes: {networks.title}; float32, accuracy not measured",
        )
        return make_bundle(options, out, progress, folder)


def _origin(path: Path) -> str:
    return f"{path.name} sha256 {sha256_of_file(path)}"
