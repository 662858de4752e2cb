"""Training: a resumed run equals an unbroken one, examples and their ground truth stay together."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError, SourceError, UsageError
from nanoseg.evaluation.scenes import Scene
from nanoseg.evaluation.simulated_scenes import SimulatedScenes
from nanoseg.models.checkpoints.load import load_checkpoint
from nanoseg.models.export import yolo_nas as export_module
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.training import detector as detect
from nanoseg.models.training import segmenter as segment
from nanoseg.models.training import train_detector as train_detector_module
from nanoseg.models.training import train_segmenter as train_segmenter_module
from nanoseg.models.training.loop import Hyperparameters, Training, batches, learning_rate_at
from nanoseg.models.training.options import DetectorOptions, SegmenterOptions
from nanoseg.models.training.train_detector import train_detector
from nanoseg.models.training.train_segmenter import SegmenterNetwork, train_segmenter
from nanoseg.models.yolo_nas import Decoded, YoloNas
from nanoseg.processing.geometry import Geometry
from tests.models.training.test_scenes import FiniteScenes

PLAN = Hyperparameters(images=24, batch=2, learning_rate=1e-2, warmup_steps=3)


def trained(folder: Path, stop_after: int | None = None, resume: bool = False) -> Training:
    """Fit a line to numbers drawn by the step's own seed; `stop_after` interrupts the run there."""
    torch.manual_seed(0)
    training = Training(nn.Linear(3, 1), PLAN, folder, {"architecture": "line"})
    if resume:
        training.resume()

    def step(network, i):
        if i == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(2, 3, generator=torch.Generator().manual_seed(i))
        loss = (network(x) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"loss": float(loss.detach())}

    training.run(step, lambda network: {"bias": float(network.bias.detach())}, evaluate_every=8, save_every_s=0)
    return training


def test_training_resumed_ends_where_an_unbroken_run_does(tmp_path):
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", stop_after=7)
    resumed = trained(tmp_path / "broken", resume=True)
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name
    kept = torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)
    assert kept["architecture"] == "line"
    assert torch.equal(kept["model"]["weight"], whole.averaged.weight)
    logged = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in logged if "metrics" in line] == [8, 16, 24]


def test_training_resume_needs_the_same_plan(tmp_path):
    with pytest.raises(UsageError, match="found none"):
        trained(tmp_path, resume=True)
    trained(tmp_path)
    other = Training(nn.Linear(3, 1), Hyperparameters(images=24, batch=4, learning_rate=1e-2), tmp_path, {})
    with pytest.raises(UsageError, match="batch, warmup_steps differ"):
        other.resume()


def test_training_resume_needs_the_same_network_and_keeps_the_run(tmp_path):
    trained(tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(UsageError, match="holds a run; continue it with --resume"):
        trained(tmp_path)
    other = Training(nn.Linear(3, 1), PLAN, tmp_path, {"architecture": "curve", "variant": "s"})
    with pytest.raises(UsageError, match=r"another network \(architecture differ\)"):
        other.resume()
    assert (tmp_path / "last.pt").read_bytes() == before


def test_training_resumes_a_run_of_an_older_version(tmp_path):
    """Its description has fewer entries."""
    trained(tmp_path)
    newer = Training(nn.Linear(3, 1), PLAN, tmp_path, {"architecture": "line", "rescale_px": 60})
    newer.resume()
    assert newer.step == PLAN.steps


@pytest.mark.parametrize(("images", "batch", "flag"), [(0, 2, "--samples"), (10, 0, "--batch"), (-1, 1, "--samples")])
def test_plan_needs_a_positive_number_of_images(images, batch, flag):
    with pytest.raises(UsageError, match=f"{flag}: wanted 1 or more"):
        Hyperparameters(images, batch, learning_rate=1e-3)


def test_learning_rate_rises_then_falls():
    rates = [learning_rate_at(step, Hyperparameters(images=1000, batch=1, learning_rate=1.0)) for step in range(1000)]
    assert max(rates) == rates[100] == 1.0
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_batches_are_in_order_from_the_first_step():
    assert list(batches(lambda step: step * step, 3, 7, workers=0)) == [9, 16, 25, 36]


def test_segmenter_batch_of_empty_scenes_takes_a_later_step():
    scenes = FiniteScenes([0, 0, 0, 0, 1])
    for step in range(10):
        (found,) = segment.make_batch(scenes, step, 1, 64, max_objects=2, jitter_px=0.0, seed=0)
        assert found.image.shape == (3, 64, 64)
    with pytest.raises(SourceError, match="no object in any image"):
        segment.make_batch(FiniteScenes([0, 0, 0]), 0, 2, 64, max_objects=2, jitter_px=0.0, seed=0)


def test_evaluate_segmenter_uses_each_image_once():
    evaluated = []

    class Counted(FiniteScenes):
        def __getitem__(self, index):
            evaluated.append(index)
            return super().__getitem__(index)

    encoder = nn.Linear(1, 1)  # only its device is read, as the images are empty
    assert segment.evaluate_segmenter(encoder, encoder, Counted([0, 0, 0]), 10, 64) == 0.0
    assert evaluated == [0, 1, 2]


def test_coverage_preserves_the_area():
    mask = np.zeros((480, 640), bool)
    mask[100:220, 40:200] = True
    share = segment.coverage(mask, Geometry.of((480, 640), 512, 512, 512))
    assert share.shape == (128, 128)
    assert share.sum() == pytest.approx(mask.sum() * (512 / 640) ** 2 / 16, rel=1e-4)


def test_segmenter_example_prompts_every_object_by_its_box():
    scenes = SimulatedScenes(validation=True)
    example = segment.example(scenes, 0, 512, max_objects=3, jitter_px=0.0, seed=0)
    assert example is not None
    boxes = example.labels[:, 0] == 2
    assert int(boxes.sum()) == 3
    assert example.image.shape == (3, 512, 512)
    for corners, target in zip(example.coords[boxes][:, :2], example.target[boxes], strict=True):
        rows, columns = np.nonzero(target.numpy() > 0)
        found = torch.tensor([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]) * 4.0
        assert (found - corners).abs().max() <= 4.0


def test_mask_loss_falls_with_better_masks_and_right_iou():
    target = torch.zeros(2, 16, 16)
    target[:, 4:12, 4:12] = 1
    right = ((target - 0.5) * 20)[:, None].expand(-1, 4, -1, -1)
    loss = {
        "right": segment.mask_loss(right, torch.ones(2, 4), target)[0],
        "right, IoU too low": segment.mask_loss(right, torch.zeros(2, 4), target)[0],
        "wrong": segment.mask_loss(-right, torch.zeros(2, 4), target)[0],
    }
    assert loss["right"] < 0.01
    assert loss["right"] < loss["right, IoU too low"] < loss["wrong"]


def test_letterboxed_boxes_stay_on_their_objects():
    image = np.zeros((30, 60, 3), np.uint8)
    image[10:20, 20:40] = 255
    box = np.array([[20, 10, 40, 20]], np.float32)
    plain, boxes = detect.letterboxed(image, box, detect.Letterbox(120, 120), None)
    assert boxes.tolist() == [[40, 50, 80, 70]]
    for seed in range(5):
        square, boxes = detect.letterboxed(
            image, box, detect.Letterbox(120, 120, zoom=(0.5, 0.9)), np.random.default_rng(seed)
        )
        rows, columns = np.nonzero(square[:, :, 0] > 200)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(boxes[0] - found).max() <= 2
    assert plain[0, 0].tolist() == [114] * 3


def test_detector_batches_are_reproducible_and_within_the_image():
    letterbox = detect.Letterbox(96, 96, zoom=(0.8, 1.6))
    images, targets = detect.make_batch(SimulatedScenes(), 4, 3, letterbox, seed=1)
    again = detect.make_batch(SimulatedScenes(), 4, 3, letterbox, seed=1)
    assert torch.equal(images, again[0])
    assert torch.equal(targets, again[1])
    assert images.shape == (3, 3, 96, 96)
    assert set(targets[:, 0].tolist()) <= {0.0, 1.0, 2.0}
    centre, size = targets[:, 2:4], targets[:, 4:6]
    assert ((centre - size / 2 > -1e-6) & (centre + size / 2 < 1 + 1e-6)).all()


def test_evaluate_detector_scores_true_boxes_as_perfect():
    scenes, letterbox = SimulatedScenes(validation=True), detect.Letterbox(96, 96)

    class Oracle(nn.Module):
        """Predict the ground truth of the scenes, in their order."""

        def __init__(self) -> None:
            super().__init__()
            self.unused, self.next = nn.Parameter(torch.zeros(1)), 0

        def forward(self, images):
            scene: Scene = scenes[self.next]
            self.next += 1
            _, boxes = detect.letterboxed(scene.image, scene.xyxy, letterbox, None)
            scores = nn.functional.one_hot(torch.from_numpy(scene.class_id), len(scenes.labels)).float()
            return Decoded(torch.from_numpy(boxes)[None], scores[None] * 0.9)

    metrics = detect.evaluate_detector(Oracle(), scenes, 4, letterbox)
    assert metrics["map50_95"] == pytest.approx(1.0)


@pytest.mark.slow
def test_train_segmenter_writes_a_checkpoint_that_loads(tmp_path):
    train_segmenter(SegmenterOptions(out=tmp_path, samples=4, batch=2, size_px=64, evaluate_on=1))
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (kept["architecture"], kept["variant"], kept["image_size"]) == ("nanosam", "slim", 64)
    decoder = {k: v for k, v in kept["model"].items() if not k.startswith("image_encoder.")}
    MaskDecoder(64).load_state_dict(decoder)
    assert (tmp_path / "plot.png").stat().st_size > 1000


@pytest.mark.slow
def test_train_detector_starts_from_other_classes(tmp_path):
    torch.manual_seed(0)
    source, target = YoloNas("slim", 3), YoloNas("slim", 5)
    torch.save({"model": source.state_dict(), "variant": "slim"}, tmp_path / "three.pt")
    own = {name: value.clone() for name, value in target.state_dict().items() if ".cls_pred." in name}
    train_detector_module.start_from(target, tmp_path / "three.pt")
    for name, value in target.state_dict().items():
        assert torch.equal(value, own.get(name, source.state_dict()[name])), name
    with pytest.raises(BundleError, match="holds YOLO-NAS slim, --variant s was given"):
        train_detector_module.start_from(YoloNas("s", 3), tmp_path / "three.pt")


def test_train_detector_refuses_merged_branches(tmp_path):
    merged = YoloNas("slim", 3)
    for module in merged.modules():
        if isinstance(module, QARepVGG):
            module.fuse()
    torch.save(merged.state_dict(), tmp_path / "merged.pt")
    with pytest.raises(BundleError, match="its branches are merged"):
        train_detector_module.start_from(YoloNas("slim", 3), tmp_path / "merged.pt")


def test_train_segmenter_starts_from_a_file_with_a_classifier(tmp_path):
    torch.manual_seed(0)
    source, target = SegmenterNetwork("slim", 64), SegmenterNetwork("slim", 64)
    weights = source.state_dict()
    torch.save(weights | {"image_encoder.head.weight": torch.zeros(2, 2)}, tmp_path / "whole.pt")
    train_segmenter_module.start_from(target, tmp_path / "whole.pt")
    for name, value in target.state_dict().items():
        assert torch.equal(value, weights[name]), name
    torch.save(weights | {"image_encoder.other.weight": torch.zeros(2, 2)}, tmp_path / "more.pt")
    with pytest.raises(BundleError, match=r"image_encoder\.other\.weight"):
        train_segmenter_module.start_from(target, tmp_path / "more.pt")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"size_px": 100}, "--size: wanted a multiple of 32, got 100"),
        ({"size_px": 64, "rescale_px": 65}, "--rescale: wanted 1 to 64, the side of the network's input, got 65"),
    ],
)
def test_train_detector_checks_sizes(sizes, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        train_detector(DetectorOptions(out=tmp_path, **sizes))


@pytest.mark.parametrize(("options", "kept"), [({}, 64), ({"rescale_px": 60}, 60)])
def test_train_detector_keeps_the_scale_of_its_images_for_the_export(options, kept, tmp_path, monkeypatch):
    # Any loss will do: the real one needs a library of the training extra.
    monkeypatch.setattr(train_detector_module, "make_criterion", lambda _: None)
    monkeypatch.setattr(
        train_detector_module,
        "detector_loss",
        lambda model, *_: (sum(p.square().sum() for p in model.parameters()), {}),
    )
    monkeypatch.setattr(train_detector_module, "evaluate_detector", lambda *_: {})
    path = train_detector(DetectorOptions(out=tmp_path, size_px=64, samples=1, batch=1, **options))
    checkpoint = load_checkpoint(path)
    assert (checkpoint.image_size, checkpoint.rescale_px) == (64, kept)
    monkeypatch.setattr(export_module, "export_onnx", lambda *_, metadata, **__: metadata)
    export = partial(export_module.export_yolo_nas, path, tmp_path / "x.onnx")
    assert export()["rescale_px"] == str(kept)  # the bundle's, unless --rescale is given
    assert "rescale_px" not in export(size_px=96)


def test_training_options_want_a_whole_data_set(tmp_path):
    with pytest.raises(UsageError, match="--val-images"):
        SegmenterOptions(out=tmp_path, annotations=Path("a.json"))
