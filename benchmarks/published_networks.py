"""Write the layers of networks whose latency is published to published_layers.json, for fit_estimate.py.

    python benchmarks/published_networks.py                 # YOLO-NAS, NanoSAM's and MobileSAM's networks
    python benchmarks/published_networks.py --ultralytics   # YOLO11 and YOLO26; wants ultralytics (tried: 8.4.190)

A layer is one kernel as `nanoseg.onnx_graphs.cost` reads it off the float32 ONNX file: operators, multiply-adds,
whether tensor cores compute it, and the bytes that it reads, writes and has as weights. No weight's value matters, so
they are random.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from nanoseg.benchmark.layer import Layer
from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.image_encoder import ResNet18Encoder
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.yolo_nas_pose import YoloNasPose
from nanoseg.onnx_graphs.cost.layers import cost_of, read_graph
from nanoseg.onnx_graphs.model.simplify import simplify
from nanoseg.onnx_graphs.skeletons.fill import read_skeleton
from plain_decoder import PlainDecoder

FILE = Path(__file__).with_name("published_layers.json")
SIDE = 640
ULTRALYTICS = (*(f"yolo11{size}" for size in "nsmlx"), *(f"yolo26{size}" for size in "nsm"))


def main() -> int:
    """Count the layers of the networks and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ultralytics", action="store_true", help="count YOLO11 and YOLO26 instead of the others")
    options = parser.parse_args()
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name, layers in ultralytics_networks() if options.ultralytics else own_networks():
        print(f"{name:18} {len(layers):4} layers  {sum(layer.macs for layer in layers) / 1e9:8.3f} G multiply-adds")
        found[name] = [to_row(layer) for layer in layers]
    rows = (f" {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    return 0


def to_row(layer: Layer) -> list[Any]:
    """Return a layer as a row of the file; the name of its first node is dropped."""
    operators = layer.name.partition(": ")[2] or layer.name
    return [
        operators,
        layer.macs,
        int(layer.tensor_cores),
        layer.read_bytes,
        layer.written_bytes,
        layer.weight_bytes,
    ]


def own_networks() -> Iterator[tuple[str, list[Layer]]]:
    """Yield the networks that this repository has."""
    for size in "sml":
        yield f"yolo-nas-{size}", cost_of(read_skeleton(f"yolo_nas_{size}"), {}, f"yolo_nas_{size}").layers
    for size in "sl":
        pose = exported(YoloNasPose(size).eval().fused(), (torch.zeros(1, 3, SIDE, SIDE),))
        yield f"yolo-nas-pose-{size}", cost_of(pose, {}, f"yolo_nas_pose_{size}").layers
    yield "mobilesam-encoder", cost_of(read_skeleton("mobile_sam_tiny_vit"), {}, "mobile_sam_tiny_vit").layers
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, file = Path(folder, "encoder.pt"), Path(folder, "encoder.onnx")
        torch.save(ResNet18Encoder().state_dict(), checkpoint)
        export_image_encoder(checkpoint, file, variant="resnet18")
        yield "nanosam-encoder", read_graph(file, {}).layers
    decoder = PlainDecoder(MaskDecoder()).eval()
    box = torch.zeros(1, 2, 2), torch.full((1, 2), 2.0)
    no_mask = torch.zeros(1, 1, 256, 256), torch.zeros(1)  # it is computed, and multiplied by 0
    inputs = (torch.zeros(1, 256, 64, 64), *box, *no_mask)
    yield "sam-decoder", cost_of(exported(decoder, inputs), {}, "sam-decoder").layers


def ultralytics_networks() -> Iterator[tuple[str, list[Layer]]]:
    """Yield YOLO11 and YOLO26, as their own exporter writes them."""
    from ultralytics.nn.tasks import DetectionModel

    for name in ULTRALYTICS:
        model = DetectionModel(f"{name}.yaml", verbose=False).eval().fuse(verbose=False)
        for module in model.modules():
            if hasattr(module, "export"):
                module.export, module.format, module.dynamic = True, "onnx", False
        yield name, cost_of(exported(model, (torch.zeros(1, 3, SIDE, SIDE),)), {}, name).layers


def exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    """Return a module as an ONNX model."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder, "network.onnx")
        torch.onnx.export(module, inputs, file, opset_version=19, dynamo=False)
        return simplify(onnx.load(file))


if __name__ == "__main__":
    sys.exit(main())
