"""The training loop: schedule, averaged weights, checkpoints, log and plot.

It is the same for every network; the caller passes functions for the loss of a step and the metrics of an evaluation.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoseg.errors import UsageError, one_line
from nanoseg.models.checkpoints.files import read_torch
from nanoseg.utils.files import atomic_path

Losses = Mapping[str, float]
Step = Callable[[nn.Module, int], tuple[Tensor, Losses]]
Evaluate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of a run; a run can only be resumed with those it was started with.

    Raises:
        UsageError: `images` or `batch` is below 1.
    """

    images: int  # in all
    batch: int
    learning_rate: float  # at its peak
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average: float = 0.998  # decay of the averaged weights, which are evaluated and kept; 0 keeps the last step's
    seed: int = 0

    def __post_init__(self) -> None:
        for flag, value in (("--samples", self.images), ("--batch", self.batch)):
            if value < 1:
                raise UsageError(f"{flag}: wanted 1 or more, got {value}")

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return math.ceil(self.images / self.batch)


def learning_rate_at(step: int, plan: Hyperparameters) -> float:
    """Return the learning rate of a step: linear warm-up, then a half cosine down to 1 % of the peak."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    progress = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def torch_device(name: str | None) -> torch.device:
    """Return the device of that name; without one, the GPU if torch can use one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def save_atomically(content: object, path: Path) -> None:
    """Call torch.save with a temporary name beside `path`, then rename the file."""
    with atomic_path(path) as part:
        torch.save(content, part)


class Training:
    """A run and its folder: `last.pt` to resume, `log.jsonl`, `plot.png`, `checkpoint.pt` to export.

    `description` is saved in checkpoint.pt beside the weights: architecture, variant, labels, image_size and
    rescale_px, which the export reads.
    """

    def __init__(self, network: nn.Module, plan: Hyperparameters, folder: Path, description: Mapping[str, Any]) -> None:
        self.network, self.plan, self.folder, self.description = network, plan, folder, dict(description)
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        decayed = [p for p in network.parameters() if p.ndim > 1]
        plain = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate)
        self.step = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        """Load the state of the run from `last.pt`.

        Raises:
            BundleError: The file is damaged, or holds more than data.
            UsageError: There is no run, or its hyperparameters or its network differ.
        """
        path = self.folder / "last.pt"
        if not path.is_file():
            raise UsageError(f"{path}: wanted a run to resume, found none; leave out --resume to start one")
        state = read_torch(path)
        wanted = {"plan", "step", "seconds", "network", "averaged", "optimizer"}
        if not isinstance(state, dict) or not wanted <= state.keys() or not isinstance(state["plan"], dict):
            raise UsageError(f"{path}: wanted a run to resume, got another file; start again with another --out")
        if state["plan"] != asdict(self.plan):
            changed = [k for k, v in asdict(self.plan).items() if state["plan"].get(k) != v]
            raise UsageError(
                f"{path}: started with other hyperparameters ({', '.join(changed)} differ); give the same flags"
            )
        saved = state.get("description", {})
        # Runs of older versions saved fewer entries: those that are missing cannot differ.
        if changed := [key for key, value in self.description.items() if saved.get(key, value) != value]:
            raise UsageError(f"{path}: is of another network ({', '.join(changed)} differ); give the same flags")
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"{path}: does not fit this network: {one_line(error)}; give another --out") from error
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, step: Step, evaluate: Evaluate, *, evaluate_every: int = 5_000, save_every_s: float = 120.0) -> Path:
        """Train until `plan.images` images are seen.

        Args:
            step: (network, i) -> the loss of step i, and its parts by name for the log.
            evaluate: (network) -> metrics of the averaged weights, by name.
            evaluate_every: Training images between two evaluations.
            save_every_s: Seconds between two saves of `last.pt`.

        Returns:
            The path of checkpoint.pt.

        Raises:
            UsageError: The folder holds a run that was not resumed.
        """
        if self.step == 0 and (self.folder / "last.pt").exists():
            raise UsageError(f"{self.folder}: holds a run; continue it with --resume, or choose another --out")
        saved = started = time.monotonic()
        before = self.seconds
        every = max(1, evaluate_every // self.plan.batch)
        recent: dict[str, float] = {}
        while self.step < self.plan.steps:
            losses = self._advance(step)
            self.seconds = before + time.monotonic() - started
            for name, value in losses.items():
                recent[name] = recent.get(name, value) * 0.98 + value * 0.02
            if self.step % 50 == 0 or self.step == 1:
                self._log({"losses": recent})
            if self.step % every == 0 or self.step == self.plan.steps:
                self._log({"metrics": dict(evaluate(self.averaged))})
                self._plot()
                self._export()
            if time.monotonic() - saved > save_every_s or self.step == self.plan.steps:
                self._save()
                saved = time.monotonic()
        return self._export()

    def _advance(self, step: Step) -> Losses:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.plan)
        self.network.train()
        loss, losses = step(self.network, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip_norm)
        self.optimizer.step()
        self.step += 1
        # Early in a run the average would still hold the random start: a smaller decay forgets it faster.
        decay = min(self.plan.average, self.step / (self.step + 20))
        with torch.no_grad():
            pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
            for average, value in pairs:
                if average.dtype.is_floating_point:
                    average.lerp_(value, 1 - decay)
                else:
                    average.copy_(value)
        return losses

    def _log(self, entry: Mapping[str, Any]) -> None:
        images = self.step * self.plan.batch
        line = {"step": self.step, "images": images, "seconds": round(self.seconds, 1), **entry}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        values = next(iter(entry.values()))
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        speed = images / max(self.seconds, 1e-9)
        print(f"{images:>8} of {self.plan.images} images  {speed:5.1f}/s  {text}", flush=True)

    def _save(self) -> None:
        state: dict[str, Any] = {"plan": asdict(self.plan), "description": self.description}
        state |= {"step": self.step, "seconds": self.seconds}
        state |= {"network": self.network.state_dict(), "averaged": self.averaged.state_dict()}
        save_atomically({**state, "optimizer": self.optimizer.state_dict()}, self.folder / "last.pt")

    def _export(self) -> Path:
        path = self.folder / "checkpoint.pt"
        save_atomically({**self.description, "format": 1, "model": self.averaged.state_dict()}, path)
        return path

    def _plot(self) -> None:
        try:
            from matplotlib.figure import Figure  # not pyplot, which looks for a display and takes longer to import
        except ImportError:  # the log holds everything the plot shows
            return
        lines = [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]
        figure = Figure(figsize=(11, 4), layout="tight")
        for axis, kind in zip(figure.subplots(1, 2), ("losses", "metrics"), strict=True):
            rows = [line for line in lines if line.get(kind)]
            for name in rows[-1][kind] if rows else ():
                axis.plot([row["images"] for row in rows], [row[kind].get(name) for row in rows], label=name)
            axis.set(title=kind, xlabel="images")
            if rows:
                axis.legend()
        with atomic_path(self.folder / "plot.png") as part:
            figure.savefig(part, format="png", dpi=110)


class _Batches(torch.utils.data.Dataset[Any]):
    def __init__(self, make_batch: Callable[[int], Any]) -> None:
        self.make_batch = make_batch

    def __getitem__(self, step: int) -> Any:
        return self.make_batch(step)


def batches(make_batch: Callable[[int], Any], first: int, last: int, workers: int) -> Any:
    """Iterate over make_batch(step), `first` <= step < `last`, prefetched by `workers` processes."""
    loader = torch.utils.data.DataLoader(
        _Batches(make_batch), batch_size=None, sampler=range(first, last), num_workers=workers, collate_fn=_unchanged
    )
    return iter(loader)


def _unchanged(batch: Any) -> Any:
    return batch
