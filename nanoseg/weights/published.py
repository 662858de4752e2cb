"""The table of published weights and their licences; none of the files is in this repository."""

from __future__ import annotations

from dataclasses import dataclass

DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
HF_NANOSAM = "https://huggingface.co/dragonSwing/nanosam/resolve/main/"
HF_YOLO_NAS = "https://huggingface.co/CondadosAI/detectors/resolve/main/"
SAM = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class Licence:
    """Terms of weights; those with `must_accept` must be accepted by the user."""

    name: str
    url: str
    summary: str  # in a sentence
    must_accept: bool = False


APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "use, change and pass on, with notice")
DECI = Licence(
    "Deci YOLO-NAS",
    "https://github.com/Deci-AI/super-gradients/blob/master/LICENSE.YOLONAS.md",
    "no commercial use, none in production, no passing on, no service to others, no modifying",
    must_accept=True,
)


@dataclass(frozen=True)
class Weights:
    """One published file, and how to verify it."""

    name: str
    file: str
    url: str
    use: str
    licence: Licence = APACHE
    bytes: int | None = None
    sha256: str | None = None  # as published
    md5: str | None = None  # as published
    seen_sha256: str | None = None  # given in one author's scripts, where nothing is published
    mirrors: tuple[str, ...] = ()  # copies that others keep


PUBLISHED = (
    Weights(
        "mobile-sam",
        "mobile_sam.pt",
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
        "encoder (tiny_vit) and decoder",
        bytes=40_728_226,
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
    # NanoSAM's own two links have asked for a permission since 2024 (its issues 30 and 41), hence the mirrors.
    Weights(
        "nanosam-encoder",
        "resnet18_image_encoder.onnx",
        f"{DRIVE}14-SsvoaTl-esC3JOzomHDnI9OGgdO2OR",
        "encoder (resnet18)",
        # Perhaps of a copy and not of NVIDIA's file: nobody could fetch that one to compare.
        seen_sha256="d266fcdc9e4f0182b59946cd3cf1be331641f1d0d1de2415c4fd94e7a1c9cf0a",
        mirrors=("https://raw.githubusercontent.com/johnnynunez/nanosam/main/data/resnet18_image_encoder.onnx",),
    ),
    Weights(
        "nanosam-decoder",
        "mobile_sam_mask_decoder.onnx",
        f"{DRIVE}1jYNvnseTL49SNRx9PDcbkZ9DwsY8up7n",
        "decoder, one prompt a call",
        mirrors=(f"{HF_NANOSAM}mobile_sam_mask_decoder.onnx",),
    ),
    Weights(
        "nanosam-b1-encoder",
        "sam_hgv2_b1_ln_nonorm_image_encoder.onnx",
        f"{HF_NANOSAM}sam_hgv2_b1_ln_nonorm_image_encoder.onnx",
        "encoder (PPHGV2-B1, 512 px)",
        seen_sha256="0001b3349220a86ff6a41819ebdfd9f2a8c0707a90ef3e4f9726d46db09a9a32",
    ),
    Weights(
        "nanosam-b4-encoder",
        "sam_hgv2_b4_ln_nonorm_image_encoder.onnx",
        f"{HF_NANOSAM}sam_hgv2_b4_ln_nonorm_image_encoder.onnx",
        "encoder (PPHGV2-B4, 512 px)",
    ),
    Weights(
        "efficientvit-decoder",
        "efficientvit_l0_mask_decoder.onnx",
        f"{HF_NANOSAM}efficientvit_l0_mask_decoder.onnx",
        "decoder of the PPHGV2 encoders",
    ),
    Weights(
        "sam-vit-b",
        "sam_vit_b_01ec64.pth",
        f"{SAM}sam_vit_b_01ec64.pth",
        "decoder, for its own encoder",
        bytes=375_042_383,
        md5="01ec64d29a2fca3f0661936605ae66f8",
    ),
    Weights(
        "sam-vit-l",
        "sam_vit_l_0b3195.pth",
        f"{SAM}sam_vit_l_0b3195.pth",
        "decoder, for its own encoder",
        bytes=1_249_524_607,
        md5="0b3195507c641ddb6910d2bb5adee89c",
    ),
    Weights(
        "sam-vit-h",
        "sam_vit_h_4b8939.pth",
        f"{SAM}sam_vit_h_4b8939.pth",
        "decoder, for MobileSAM and NanoSAM too",
        bytes=2_564_550_879,
        md5="4b8939a88964f0f4ff5f5b2642c598a6",
    ),
    *(
        Weights(
            f"yolo-nas-{variant}",
            f"yolo-nas-{variant}.safetensors",
            f"{HF_YOLO_NAS}yolo-nas-{variant}.safetensors",
            f"detector (COCO, {variant.upper()})",
            DECI,
        )
        for variant in "sml"
    ),
)
