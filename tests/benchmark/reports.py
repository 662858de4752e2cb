"""Reports with synthetic latencies."""

from __future__ import annotations

import itertools
from array import array

import numpy as np

from nanoseg.benchmark.answers import Answers
from nanoseg.benchmark.latency import Series
from nanoseg.benchmark.report import FORMAT, KIND, Report, make_configuration

STAGES_MS = {"prepare": 1.0, "detect": 15.0, "embed": 23.0, "segment": 20.0, "masks": 0.8}


def correlated(count, correlation, rng, deviation=0.05):
    """Factors around 1: a first-order process of known correlation, and some outliers."""
    steps = rng.normal(0, deviation * np.sqrt(1 - correlation**2), count)
    steps[0] = rng.normal(0, deviation)
    slow = np.array(list(itertools.accumulate(steps, lambda last, step: correlation * last + step)))
    return np.exp(slow) * (1 + (rng.random(count) < 0.02) * rng.exponential(1, count))


def series(rng, mode="call", count=1024, correlation=0.5, stages=STAGES_MS):
    """Latencies of stages that a common slowness and one of their own make correlated."""
    common = correlated(count, correlation, rng, 0.03)
    spent = {name: array("f", ms * common * correlated(count, correlation, rng)) for name, ms in stages.items()}
    whole = array("f", np.sum([np.asarray(each) for each in spent.values()], axis=0))
    named = {**spent, "end_to_end": whole} if mode == "call" else {"interval": whole}
    return Series(mode, named, seconds=float(sum(whole)) / 1e3, objects=[1] * count)


def report(configurations, **changes):
    """A valid report of configurations on some board."""
    environment = {
        "board": "Orin Nano",
        "jetson": True,
        "cpu": None,
        "gpu": "Orin",
        "jetpack": "6.2",
        "tensorrt": "10.3.0",
        "system": "Ubuntu 22.04",
        "libraries": {"numpy": "1.26.4"},
        "power_mode": "15W",
        "clocks_locked": True,
        "governor": "schedutil",
        "load_average": 0.1,
        "cpu_share_of_others": 0.01,
    }
    values = {
        "kind": KIND,
        "format": FORMAT,
        "made_at": "2026-11-30T12:00:00+00:00",
        "valid": True,
        "reasons": [],
        "notes": [],
        "quick": False,
        "queries": 1024,
        "backend": "tensorrt",
        "device": "Orin",
        "answers": Answers(True, True, "14 of 14 objects of the reference frames found", 2, 14, 14, 0, 0.99, 0.99),
        "bundle": {
            "name": "parts",
            "version": "3",
            "sha256": "a" * 64,
            "precision": {"detect": "int8"},
            "accuracy": {"deployed": {"map50_95": 0.81, "miou": 0.86, "dataset": "test lines"}},
        },
        "engines": [{"gpu": "Orin 8GB", "tensorrt": "10.3.0", "kind": "tensorrt"}],
        "environment": environment,
        "memory": {"host_peak_mb": 300.0, "device_mb": None},
        "board": {
            "at_s": [1.0, 2.0, 3.0],
            "hottest_c": [48.0, None, 52.5],
            "cpu_mhz": [1510.0, None, 1510.0],
            "gpu_mhz": [612.0] * 3,
            "watts": [7.1, None, 7.3],
            "watts_of": "board, rail VDD_IN",
            "idle_watts": 4.0,
        },
        "configurations": configurations,
    }
    return Report(**{**values, **changes})


def some_report(seed=0, slower=None, objects=(1, 4), **changes):
    """A report of some numbers of objects in both modes; a stage is `slower` by 3 %."""
    rng = np.random.default_rng(seed)
    stages = {name: ms * (1.03 if name == slower else 1) for name, ms in STAGES_MS.items()}
    configurations = []
    for count, mode in itertools.product(objects, ("call", "stream")):
        more = {**stages, "segment": stages["segment"] * count}
        configurations.append(make_configuration(series(rng, mode, stages=more), "640x480", count, 10.0))
    return report(configurations, **changes)
