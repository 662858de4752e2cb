"""Stores whose engines are not all valid, and why each is left."""

import json
from dataclasses import replace

from tests.backends.select.machine import FULL, GRAPHS, RTX, alter
from tests.helpers.engine_records import changed


def older_tensorrt(machine):
    machine.put(changed(FULL, tensorrt="11.3.0"))


def older_graph(machine):
    bundle = machine.bundle
    graphs = {**bundle.graphs, "embed": replace(bundle.graphs["embed"], sha256="5" * 64)}
    machine.put(FULL, bundle=replace(bundle, graphs=graphs))


def edit_sidecar(edit):
    def do(machine):
        path = machine.put(FULL).parent / "engines.json"
        path.write_text(edit(path.read_text()))

    return do


def without_segment(text):
    records = json.loads(text)
    del records["engines"]["segment"]
    return json.dumps(records)


def shorter(machine):
    path = machine.put(FULL)
    path.write_bytes(path.read_bytes()[:-1])


LEFT = [
    (older_tensorrt, "prepare.engine: built by TensorRT 11.3.0, here is TensorRT 11.4.0"),
    (older_graph, "embed.engine: built from an older embed.onnx, sha256 555555555555; the bundle's is "),
    (lambda machine: machine.put(FULL, GRAPHS[:3]), "segment.engine: not built"),
    (lambda machine: machine.put(RTX), "prepare.engine: built by TensorRT for RTX 1.7.1, here is TensorRT 11.4.0"),
    (edit_sidecar(without_segment), "segment.engine: engines.json beside it has no record of it, so its build was cut"),
    (edit_sidecar(lambda text: text[:99]), "prepare.engine: engines.json beside it is damaged: not JSON: "),
    (shorter, "segment.engine: truncated: wanted "),
    (lambda machine: alter(machine.put(FULL)), "segment.engine: altered since it was built: wanted sha256 "),
]
