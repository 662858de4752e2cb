"""The loss is taken from one file of modern-yolonas; the rest of that package is not imported."""

import sys

import pytest

from nanoseg.errors import DependencyError
from nanoseg.models.training.loss import INSTALL, make_criterion

LOSS = """
import torch


class PPYoloELoss(torch.nn.Module):
    def __init__(self, num_classes, static_assigner_epochs):
        super().__init__()
        self.num_classes = num_classes
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose own import would fail, as modern-yolonas's does beside another torchvision."""
    folder = tmp_path / "modern_yolonas"
    (folder / "training").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (folder / "training" / "__init__.py").write_text("import albumentations_that_looks_for_updates")
    (folder / "training" / "loss.py").write_text(LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_make_criterion_loads_one_file(package):
    assert make_criterion(3).num_classes == 3
    assert not [name for name in sys.modules if name.startswith("modern_yolonas")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"wanted its file training/loss\.py, found none"),
        ("import no_such_library", f"cannot be loaded: No module named 'no_such_library'; .*again: {INSTALL}"),
        (
            "raise OSError('libtorch.so: file too short')",
            "modern-yolonas cannot be loaded: libtorch.so: file too short",
        ),
        ("other = 1", "modern-yolonas cannot be loaded: .*PPYoloELoss"),
    ],
)
def test_make_criterion_of_another_version(content, message, package):
    path = package / "training" / "loss.py"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DependencyError, match=message):
        make_criterion(3)


def test_make_criterion_without_the_package(monkeypatch):
    monkeypatch.setattr("nanoseg.models.training.loss.find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=f"^modern-yolonas is not installed: {INSTALL}$"):
        make_criterion(3)
