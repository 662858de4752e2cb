"""Laws of training: a resumed run is the same run, examples and their truth stay together."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.commands.train import detector as train_yolo_nas
from nanoseg.commands.train import segmenter as train_segmenter
from nanoseg.errors import BundleError, SourceError, UsageError
from nanoseg.evaluation.scenes import Scene, SimulatedScenes
from nanoseg.models.checkpoints.load import load_checkpoint
from nanoseg.models.export import yolo_nas as export_yolo_nas_job
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.training import detector as detect
from nanoseg.models.training import segmenter as segment
from nanoseg.models.training import train_detector as train_yolo_nas_job
from nanoseg.models.training import train_segmenter as train_segmenter_job
from nanoseg.models.training.loop import Plan, Training, batches, learning_rate_at
from nanoseg.models.training.train_segmenter import Segmenter
from nanoseg.models.yolo_nas import Decoded, YoloNas
from nanoseg.processing.geometry import Geometry
from tests.models.training.test_scenes import Few

PLAN = Plan(images=24, batch=2, learning_rate=1e-2, warmup_steps=3)


def trained(folder: Path, stop_after: int | None = None, resume: bool = False) -> Training:
    """A line fitted to numbers drawn by the step's own seed; `stop_after` breaks the run off there."""
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

    training.run(step, lambda network: {"bias": float(network.bias.detach())}, judge_every=8, save_every_s=0)
    return training


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", stop_after=7)
    resumed = trained(tmp_path / "broken", resume=True)
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name
    kept = torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)
    assert kept["architecture"] == "line"
    assert torch.equal(kept["model"]["weight"], whole.averaged.weight)
    judged = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in judged if "judged" in line] == [8, 16, 24]


def test_resuming_wants_a_run_with_the_same_plan(tmp_path):
    with pytest.raises(UsageError, match="found none"):
        trained(tmp_path, resume=True)
    trained(tmp_path)
    other = Training(nn.Linear(3, 1), Plan(images=24, batch=4, learning_rate=1e-2), tmp_path, {})
    with pytest.raises(UsageError, match="batch, warmup_steps differ"):
        other.resume()


def test_a_run_is_resumed_by_its_own_network_and_never_begun_anew(tmp_path):
    trained(tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(UsageError, match="holds a run; go on with --resume"):
        trained(tmp_path)
    other = Training(nn.Linear(3, 1), PLAN, tmp_path, {"architecture": "curve", "variant": "s"})
    with pytest.raises(UsageError, match=r"another network \(architecture differ\)"):
        other.resume()
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_run_is_resumed_that_told_less_of_itself(tmp_path):
    """As one that an older version began."""
    trained(tmp_path)
    newer = Training(nn.Linear(3, 1), PLAN, tmp_path, {"architecture": "line", "rescale_px": 60})
    newer.resume()
    assert newer.step == PLAN.steps


@pytest.mark.parametrize(("images", "batch", "said"), [(0, 2, "--images"), (10, 0, "--batch"), (-1, 1, "--images")])
def test_a_plan_has_steps(images, batch, said):
    with pytest.raises(UsageError, match=f"{said}: wanted 1 or more"):
        Plan(images, batch, learning_rate=1e-3)


def test_the_learning_rate_rises_then_falls():
    rates = [learning_rate_at(step, Plan(images=1000, batch=1, learning_rate=1.0)) for step in range(1000)]
    assert max(rates) == rates[100] == 1.0
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_batches_come_in_order_from_where_they_are_asked_for():
    assert list(batches(lambda step: step * step, 3, 7, workers=0)) == [9, 16, 25, 36]


def test_a_step_of_empty_pictures_takes_the_objects_of_a_later_one():
    scenes = Few([0, 0, 0, 0, 1])
    for step in range(10):
        (found,) = segment.batch(scenes, step, 1, 64, most=2, jitter_px=0.0, seed=0)
        assert found.image.shape == (3, 64, 64)
    with pytest.raises(SourceError, match="no object in any picture"):
        segment.batch(Few([0, 0, 0]), 0, 2, 64, most=2, jitter_px=0.0, seed=0)


def test_no_picture_is_judged_twice():
    judged = []

    class Counted(Few):
        def __getitem__(self, index):
            judged.append(index)
            return super().__getitem__(index)

    encoder = nn.Linear(1, 1)  # asked for its device alone, as nothing is in the pictures
    assert segment.box_miou(encoder, encoder, Counted([0, 0, 0]), 10, 64) == 0.0
    assert judged == [0, 1, 2]


def test_coverage_keeps_the_area():
    mask = np.zeros((480, 640), bool)
    mask[100:220, 40:200] = True
    share = segment.coverage(mask, Geometry.of((480, 640), 512, 512, 512))
    assert share.shape == (128, 128)
    assert share.sum() == pytest.approx(mask.sum() * (512 / 640) ** 2 / 16, rel=1e-4)


def test_an_example_asks_for_every_object_by_its_box():
    scenes = SimulatedScenes(validation=True)
    example = segment.example(scenes, 0, 512, most=3, jitter_px=0.0, seed=0)
    assert example is not None
    boxes = example.labels[:, 0] == 2
    assert int(boxes.sum()) == 3
    assert example.image.shape == (3, 512, 512)
    for corners, target in zip(example.coords[boxes][:, :2], example.target[boxes], strict=True):
        rows, columns = np.nonzero(target.numpy() > 0)
        found = torch.tensor([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]) * 4.0
        assert (found - corners).abs().max() <= 4.0


def test_the_mask_loss_falls_with_better_masks_and_honest_iou():
    target = torch.zeros(2, 16, 16)
    target[:, 4:12, 4:12] = 1
    right = ((target - 0.5) * 20)[:, None].expand(-1, 4, -1, -1)
    loss = {
        "right": segment.mask_loss(right, torch.ones(2, 4), target)[0],
        "right but humble": segment.mask_loss(right, torch.zeros(2, 4), target)[0],
        "wrong": segment.mask_loss(-right, torch.zeros(2, 4), target)[0],
    }
    assert loss["right"] < 0.01
    assert loss["right"] < loss["right but humble"] < loss["wrong"]


def test_letterboxed_boxes_stay_on_their_objects():
    image = np.zeros((30, 60, 3), np.uint8)
    image[10:20, 20:40] = 255
    box = np.array([[20, 10, 40, 20]], np.float32)
    plain, boxes = detect.letterboxed(image, box, detect.View(120, 120), None)
    assert boxes.tolist() == [[40, 50, 80, 70]]
    for seed in range(5):
        square, boxes = detect.letterboxed(
            image, box, detect.View(120, 120, zoom=(0.5, 0.9)), np.random.default_rng(seed)
        )
        rows, columns = np.nonzero(square[:, :, 0] > 200)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(boxes[0] - found).max() <= 2
    assert plain[0, 0].tolist() == [114] * 3


def test_detector_batches_are_the_same_again_and_within_the_picture():
    view = detect.View(96, 96, zoom=(0.8, 1.6))
    images, targets = detect.batch(SimulatedScenes(), 4, 3, view, seed=1)
    again = detect.batch(SimulatedScenes(), 4, 3, view, seed=1)
    assert torch.equal(images, again[0])
    assert torch.equal(targets, again[1])
    assert images.shape == (3, 3, 96, 96)
    assert set(targets[:, 0].tolist()) <= {0.0, 1.0, 2.0}
    centre, size = targets[:, 2:4], targets[:, 4:6]
    assert ((centre - size / 2 > -1e-6) & (centre + size / 2 < 1 + 1e-6)).all()


def test_perfect_boxes_are_judged_perfect():
    scenes, view = SimulatedScenes(validation=True), detect.View(96, 96)

    class Oracle(nn.Module):
        """Answers with the truth of the scenes in their order."""

        def __init__(self) -> None:
            super().__init__()
            self.unused, self.next = nn.Parameter(torch.zeros(1)), 0

        def forward(self, images):
            scene: Scene = scenes[self.next]
            self.next += 1
            _, boxes = detect.letterboxed(scene.image, scene.xyxy, view, None)
            scores = nn.functional.one_hot(torch.from_numpy(scene.class_id), len(scenes.labels)).float()
            return Decoded(torch.from_numpy(boxes)[None], scores[None] * 0.9)

    figures = detect.judge_boxes(Oracle(), scenes, 4, view)
    assert figures["map50_95"] == pytest.approx(1.0)


def test_the_segmenter_learns_a_step_and_its_checkpoint_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "sys.argv",
        ["train", "--out", str(tmp_path), "--images", "4", "--batch", "2", "--size", "64", "--judge-on", "1"],
    )
    assert train_segmenter.main() == 0
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (kept["architecture"], kept["variant"], kept["image_size"]) == ("nanosam", "slim", 64)
    decoder = {k: v for k, v in kept["model"].items() if not k.startswith("image_encoder.")}
    MaskDecoder(64).load_state_dict(decoder)
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_fine_tuning_takes_all_but_the_classes(tmp_path):
    torch.manual_seed(0)
    source, target = YoloNas("slim", 3), YoloNas("slim", 5)
    torch.save({"model": source.state_dict(), "variant": "slim"}, tmp_path / "three.pt")
    own = {name: value.clone() for name, value in target.state_dict().items() if ".cls_pred." in name}
    train_yolo_nas_job.start_from(target, tmp_path / "three.pt")
    for name, value in target.state_dict().items():
        assert torch.equal(value, own.get(name, source.state_dict()[name])), name
    with pytest.raises(BundleError, match="holds YOLO-NAS slim, --variant s was given"):
        train_yolo_nas_job.start_from(YoloNas("s", 3), tmp_path / "three.pt")


def test_a_network_whose_branches_are_merged_is_not_trained(tmp_path):
    merged = YoloNas("slim", 3)
    for module in merged.modules():
        if isinstance(module, QARepVGG):
            module.fuse()
    torch.save(merged.state_dict(), tmp_path / "merged.pt")
    with pytest.raises(BundleError, match="its branches are merged"):
        train_yolo_nas_job.start_from(YoloNas("slim", 3), tmp_path / "merged.pt")


def test_a_segmenter_starts_from_a_file_that_still_has_its_classifier(tmp_path):
    torch.manual_seed(0)
    source, target = Segmenter("slim", 64), Segmenter("slim", 64)
    weights = source.state_dict()
    torch.save(weights | {"image_encoder.head.weight": torch.zeros(2, 2)}, tmp_path / "whole.pt")
    train_segmenter_job.start_from(target, tmp_path / "whole.pt")
    for name, value in target.state_dict().items():
        assert torch.equal(value, weights[name]), name
    torch.save(weights | {"image_encoder.other.weight": torch.zeros(2, 2)}, tmp_path / "more.pt")
    with pytest.raises(BundleError, match=r"image_encoder\.other\.weight"):
        train_segmenter_job.start_from(target, tmp_path / "more.pt")


def test_the_side_of_the_detectors_input_is_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path), "--size", "100"])
    assert train_yolo_nas.main() == 2
    assert "--size: wanted a multiple of 32, got 100" in capsys.readouterr().err


def test_the_side_of_a_picture_is_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path), "--size", "64", "--rescale", "65"])
    assert train_yolo_nas.main() == 2
    assert "--rescale: wanted 1 to 64, the side of the network's input, got 65" in capsys.readouterr().err


def one_step(folder, monkeypatch, *flags):
    """A detector's checkpoint; the loss is anything, as the true one is of a library for training alone."""
    monkeypatch.setattr(train_yolo_nas_job, "make_criterion", lambda _: None)
    monkeypatch.setattr(
        train_yolo_nas_job, "detector_loss", lambda model, *_: (sum(p.square().sum() for p in model.parameters()), {})
    )
    monkeypatch.setattr(train_yolo_nas_job, "judge_boxes", lambda *_: {})
    given = ["--out", str(folder), "--size", "64", "--images", "1", "--batch", "1", *flags]
    monkeypatch.setattr("sys.argv", ["train", *given])
    assert train_yolo_nas.main() == 0
    return folder / "checkpoint.pt"


@pytest.mark.parametrize(("flags", "kept"), [((), 64), (("--rescale", "60"), 60)])
def test_how_large_pictures_were_is_kept(flags, kept, tmp_path, monkeypatch):
    checkpoint = load_checkpoint(one_step(tmp_path, monkeypatch, *flags))
    assert (checkpoint.image_size, checkpoint.rescale_px) == (64, kept)
    monkeypatch.setattr(export_yolo_nas_job, "export_onnx", lambda *_, metadata, **__: metadata)
    export = partial(export_yolo_nas_job.export_checkpoint, checkpoint.path, tmp_path / "x.onnx")
    assert export()["rescale_px"] == str(kept)  # which make_bundle takes where no --rescale is given
    assert "rescale_px" not in export(size_px=96)


def test_a_data_set_is_named_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path), "--annotations", "a.json"])
    assert train_segmenter.main() == 2
    assert "--val-pictures" in capsys.readouterr().err
