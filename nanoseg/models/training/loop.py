"""The loop that trains a network: schedule, averaged weights, checkpoints, log and plot.

What a step does and how progress is judged belong to the script that trains; everything that would be the
same for another network is here.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoseg.errors import UsageError

Losses = Mapping[str, float]
Step = Callable[[nn.Module, int], tuple[Tensor, Losses]]
Judge = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class Plan:
    """How a network is trained; a run can only be resumed with the plan it began with."""

    images: int  # seen in all
    batch: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average: float = 0.998  # of the weights that are judged and kept; 0 keeps the last step's
    seed: int = 0

    def __post_init__(self) -> None:
        for flag, value in (("--images", self.images), ("--batch", self.batch)):
            if value < 1:
                raise UsageError(f"{flag}: wanted 1 or more, got {value}")

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return math.ceil(self.images / self.batch)


def learning_rate_at(step: int, plan: Plan) -> float:
    """Linear warm-up, then a half cosine down to 1 % of the peak."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def save_atomically(content: object, path: Path) -> None:
    """torch.save to a temporary name beside `path`, then rename."""
    part = path.with_name(path.name + ".part")
    torch.save(content, part)
    os.replace(part, path)


class Training:
    """One run in one folder: `last.pt` to resume from, `log.jsonl`, `plot.png`, and `checkpoint.pt` to export.

    `description` goes into checkpoint.pt beside the weights; export reads architecture, variant, labels, size and
    the detector's rescale from it.
    """

    def __init__(self, network: nn.Module, plan: Plan, folder: Path, description: Mapping[str, Any]) -> None:
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
        """Take up the run where `last.pt` left it; raises UsageError for another plan or network, or no run."""
        path = self.folder / "last.pt"
        if not path.is_file():
            raise UsageError(f"{path}: wanted a run to resume, found none; leave out --resume to begin one")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["plan"] != asdict(self.plan):
            changed = [k for k, v in asdict(self.plan).items() if state["plan"].get(k) != v]
            raise UsageError(f"{path}: began with another plan ({', '.join(changed)} differ); give the same flags")
        told = state.get("description", {})
        # What an older version of this did not tell cannot differ.
        if changed := [key for key, value in self.description.items() if told.get(key, value) != value]:
            raise UsageError(f"{path}: is of another network ({', '.join(changed)} differ); give the same flags")
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, step: Step, judge: Judge, judge_every: int = 5_000, save_every_s: float = 120.0) -> Path:
        """Train to the plan's end and return checkpoint.pt; judged every so many images.

        `step(network, i)` gives the loss of step i, `judge(network)` figures of the averaged weights.
        Raises UsageError rather than begin anew over a run that could be resumed.
        """
        if self.step == 0 and (self.folder / "last.pt").exists():
            raise UsageError(f"{self.folder}: holds a run; go on with --resume, or choose another --out")
        saved = began = time.monotonic()
        before = self.seconds
        every = max(1, judge_every // self.plan.batch)
        recent: dict[str, float] = {}
        while self.step < self.plan.steps:
            losses = self._advance(step)
            self.seconds = before + time.monotonic() - began
            for name, value in losses.items():
                recent[name] = recent.get(name, value) * 0.98 + value * 0.02
            if self.step % 50 == 0 or self.step == 1:
                self._log({"losses": recent})
            if self.step % every == 0 or self.step == self.plan.steps:
                self._log({"judged": dict(judge(self.averaged))})
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
        # A young average would still hold the random start: let it forget faster then.
        keep = min(self.plan.average, self.step / (self.step + 20))
        with torch.no_grad():
            pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
            for average, value in pairs:
                if average.dtype.is_floating_point:
                    average.lerp_(value, 1 - keep)
                else:
                    average.copy_(value)
        return losses

    def _log(self, entry: Mapping[str, Any]) -> None:
        images = self.step * self.plan.batch
        line = {"step": self.step, "images": images, "seconds": round(self.seconds, 1), **entry}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        values = next(iter(entry.values()))
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        speed = images / max(self.seconds, 1e-9)
        print(f"{images:>8} of {self.plan.images} images  {speed:5.1f}/s  {shown}", flush=True)

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
        for axis, kind in zip(figure.subplots(1, 2), ("losses", "judged"), strict=True):
            rows = [line for line in lines if line.get(kind)]
            for name in rows[-1][kind] if rows else ():
                axis.plot([row["images"] for row in rows], [row[kind].get(name) for row in rows], label=name)
            axis.set(title=kind, xlabel="images")
            if rows:
                axis.legend()
        figure.savefig(self.folder / "plot.png", dpi=110)


class _Batches(torch.utils.data.Dataset[Any]):
    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Any:
        return self.make(step)


def batches(make: Callable[[int], Any], first: int, last: int, workers: int) -> Any:
    """make(step) for every step from `first` to before `last`, in order, made ahead by `workers` processes."""
    loader = torch.utils.data.DataLoader(
        _Batches(make), batch_size=None, sampler=range(first, last), num_workers=workers, collate_fn=_unchanged
    )
    return iter(loader)


def _unchanged(batch: Any) -> Any:
    return batch
