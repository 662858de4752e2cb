#!/usr/bin/env bash
# Everything from the package: build wheel and sdist, install the wheel into a new environment, and run each verb in an
# empty folder, without the checkout. Takes minutes, most of them for pip.
#
#   PYTHON=python3.10 .ci/wheel.sh
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
${PYTHON:-python3} -m venv .venv
PATH=$work/.venv/bin:$PATH
unset PYTHONPATH

pip install --quiet build
git -C "$checkout" archive --prefix=source/ HEAD | tar x
python -m build --outdir dist source
rm -rf source
pip install --quiet "${TORCH:-torch==2.13.0}"
pip install --quiet "$(echo dist/*.whl)[demo,export,quantize,rtx,serve]"

echo "== help and version"
python -m nanoseg --version
nanoseg --help >help.txt
python -c 'import nanoseg, sys; sys.exit("checkout" in nanoseg.__file__)'

echo "== demo"
nanoseg demo --limit 5 --out demo
test -s demo/annotated.mp4 -a -s demo/contact-sheet.png -a -s demo/results.jsonl -a -s demo/report.json

echo "== checkpoints, with random weights"
python - <<'PY'
import json
import torch
from nanoseg.bundle import open_bundle
from nanoseg.models.yolo_nas import YoloNas

labels = list(open_bundle("parts").labels)
torch.manual_seed(0)
detector = YoloNas("slim", num_classes=len(labels))
torch.save({"architecture": "yolo_nas", "variant": "slim", "model": detector.state_dict(), "labels": labels}, "detector.pt")
PY
nanoseg train segmenter --out run --samples 2 --batch 2 --size 64 --evaluate-on 1

echo "== export"
nanoseg export yolo-nas --checkpoint detector.pt --size 64 --out detector.onnx
nanoseg export image-encoder --checkpoint run/checkpoint.pt --out encoder.onnx
nanoseg export mask-decoder --checkpoint run/checkpoint.pt --out decoder.onnx

echo "== quantize and fp16"
nanoseg quantize detector.onnx --out detector-int8.onnx --images parts:// --count 2 --test-count 2 --report report
nanoseg fp16 encoder.onnx --out encoder-fp16.onnx --images parts:// --count 2 --decoder decoder.onnx

echo "== bundle"
nanoseg bundle make --detector detector.onnx --encoder encoder.onnx --decoder decoder.onnx --name mine --out mine-float
# Networks after two steps of training tell pictures apart by less than rounding does.
nanoseg bundle make --detector detector-int8.onnx --encoder encoder-fp16.onnx --decoder decoder.onnx --name mine --out mine --anyway
nanoseg bundle measure --bundle parts --limit 2 --out accuracy.json
nanoseg info mine

echo "== eval"
python - <<'PY'
import json
import cv2
from nanoseg.processing import rle
from nanoseg.sources.simulator.line import LABELS, SimulatedLine

frame, truth = SimulatedLine(seed=1).sample(100)
cv2.imwrite("frame.png", frame.image)
content = {
    "images": [{"id": 1, "file_name": "frame.png", "width": 640, "height": 480}],
    "categories": [{"id": i, "name": name} for i, name in enumerate(LABELS)],
    "annotations": [
        {"id": i, "image_id": 1, "category_id": int(c), "bbox": [x, y, r - x, b - y], "area": int(m.sum()), "segmentation": rle.encode(m)}
        for i, (c, (x, y, r, b), m) in enumerate(zip(truth.class_id, truth.xyxy.tolist(), truth.masks), 1)
    ],
}
json.dump(content, open("frame.json", "w"))
PY
nanoseg eval --images . --annotations frame.json --out eval
nanoseg eval --images . --annotations frame.json --out eval --prompts detected
test -s eval/report.html -a -s eval/report.json -a -s eval/detections.json

echo "== networks without weights"
python - <<'PY'
from nanoseg.onnx_graphs.skeletons.fill import SKELETONS, read_skeleton

for name in SKELETONS:
    assert read_skeleton(name).graph.node, name
PY
nanoseg bundle get coco || test $? -eq 2  # its terms are not accepted

echo "== build"
nanoseg build --bundle mine --target tensorrt-rtx --dry-run
nanoseg fetch --list
nanoseg doctor || test $? -eq 5

echo "== bench"
nanoseg bench --quick --objects 1 --anyway --out bench  # a busy machine is unstable
test -s bench/bench.html
nanoseg bench verify bench/bench.json || test $? -eq 5
nanoseg bench compare bench/bench.json bench/bench.json

echo "== estimate"
nanoseg estimate --device orin-nano-super --bundle mine --objects 2
nanoseg estimate --compare-devices --json >estimate.json
test -s estimate.json

echo "== serve"
nanoseg serve --sample-config >nanoseg.toml
nanoseg serve --config nanoseg.toml --check
nanoseg serve 2>serve.log &
python - <<'PY'
import time
import urllib.request

for _ in range(600):
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/readyz") as ready, urllib.request.urlopen("http://127.0.0.1:8080/") as page:
            assert b"nanoseg" in page.read()
            break
    except OSError:  # it starts
        time.sleep(0.1)
else:
    raise SystemExit("no answer within a minute")
PY
kill -TERM $!
wait $! || test $? -eq 143
nanoseg service install --dry-run || test $? -eq 2  # this folder is none that a unit sees
echo "everything works from the wheel"
