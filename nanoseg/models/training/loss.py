"""YOLO-NAS's loss: one file of modern-yolonas that needs torch alone, loaded without the rest of that package.

The package as a whole imports torchvision, lightning and albumentations, which asks its server for updates, and wants
a second OpenCV beside this project's.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from nanoseg.errors import DependencyError, one_line
from nanoseg.utils.signals import uninterrupted

INSTALL = "pip install --no-deps modern-yolonas==0.5.0"
_FILE = Path("training", "loss.py")
_MODULE = "nanoseg_modern_yolonas_loss"  # under its own name, so that `import modern_yolonas` is not confused by it


def make_criterion(classes: int) -> Any:
    """Return modern-yolonas's PPYoloELoss; raises DependencyError where it is not installed."""
    package = find_spec("modern_yolonas")  # of a package at the top, which is not run
    if package is None:
        raise DependencyError(f"modern-yolonas is not installed: {INSTALL}")
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    path = next((folder / _FILE for folder in folders if (folder / _FILE).is_file()), None)
    if path is None:
        raise DependencyError(f"modern-yolonas: wanted its file {_FILE}, found none in {package.origin}: {INSTALL}")
    try:
        with uninterrupted():
            loss = _load_loss(path)
    except Exception as error:  # of any type: see `needs`, whose extra does not install this package
        raise DependencyError(
            f"modern-yolonas cannot be loaded: {one_line(error)}; install what it misses, or again: {INSTALL}"
        ) from error
    return loss(num_classes=classes, static_assigner_epochs=1)


def _load_loss(path: Path) -> Any:
    spec = spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module.PPYoloELoss
