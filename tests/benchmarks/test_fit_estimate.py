"""The fit on published latencies: it finds constants again, and the package and the page have its figures."""

from dataclasses import replace

import pytest

import fit_estimate
from nanoseg.benchmark.families import WORST_ERROR, read_fit
from nanoseg.benchmark.layer_time import Constants
from published_latency import PUBLISHED

# Those of reference/summary.json, of the decoder with a box; YOLO11's and YOLO26's as published, to three digits.
GMACS = {
    "yolo-nas-s": 15.898624,
    "yolo-nas-m": 43.8798336,
    "yolo-nas-l": 59.9171072,
    "yolo-nas-pose-s": 19.109888,
    "yolo-nas-pose-l": 72.4738048,
    "nanosam-encoder": 87.207968768 / 2,
    "mobilesam-encoder": 77.536590848 / 2,
    "sam-decoder": 3.660878848 / 2,
    "yolo11n": 6.5 / 2,
    "yolo11s": 21.5 / 2,
    "yolo11m": 68.0 / 2,
    "yolo26n": 5.4 / 2,
    "yolo26s": 20.7 / 2,
    "yolo26m": 68.2 / 2,
}
# The position encoding of the grid is a constant of the exported decoder, and one of its products in the reference.
TOLERANCE = {"yolo-nas": 1e-6, "nanosam": 1e-6, "mobilesam": 1e-6, "sam-decoder": 1e-3, "yolo11": 0.02, "yolo26": 0.02}


@pytest.fixture(scope="module")
def networks():
    return fit_estimate.read_networks()


@pytest.mark.parametrize(("name", "gmacs"), GMACS.items())
def test_multiply_adds_of_the_networks(networks, name, gmacs):
    counted = sum(row[1] for row in networks[name]) / 1e9
    tolerance = next(each for beginning, each in TOLERANCE.items() if name.startswith(beginning))
    assert counted == pytest.approx(gmacs, rel=tolerance)


def test_the_fit_finds_the_constants_that_made_the_figures(networks):
    truth = Constants(0.6, 0.3, 0.45, 12.0)
    made = [replace_ms(each, fit_estimate.estimate_ms(networks, each, truth)) for each in PUBLISHED]
    found = fit_estimate.fitted(networks, made)
    assert vars(found) == pytest.approx(vars(truth), rel=5e-3)
    without = dict.fromkeys(fit_estimate.families(), found)
    shown = fit_estimate.errors(networks, without)
    assert {name: len(each) for name, each in shown.items()} == {
        name: sum(each.family == name for each in PUBLISHED) for name in fit_estimate.families()
    }


def replace_ms(point, ms):
    return point._replace(ms=ms)


def test_a_family_is_judged_by_constants_fitted_without_it(networks):
    """Figures of one family that are twice as large change nothing of what is estimated for it."""
    others = [each for each in PUBLISHED if each.family != "nanosam"]
    doubled = [each if each.family != "nanosam" else replace_ms(each, 2 * each.ms) for each in PUBLISHED]
    assert fit_estimate.fitted(networks, others) == fit_estimate.fitted(
        networks, [each for each in doubled if each.family != "nanosam"]
    )
    assert fit_estimate.fitted(networks, others) != fit_estimate.fitted(networks, doubled)


def test_the_package_and_the_page_have_these_figures(networks):
    without = {
        family: fit_estimate.fitted(networks, [each for each in PUBLISHED if each.family != family])
        for family in fit_estimate.families()
    }
    found = fit_estimate.summary(fit_estimate.fitted(networks, PUBLISHED), fit_estimate.errors(networks, without))
    kept = read_fit()
    assert vars(found.constants) == pytest.approx(vars(kept.constants), rel=1e-2)
    assert found.mean_error == pytest.approx(kept.mean_error, abs=2e-3)
    page = fit_estimate.PAGE.read_text(encoding="utf-8")
    section = fit_estimate.section(networks, without, replace(found, constants=kept.constants))
    assert fit_estimate.inserted(page, section) == page, "benchmarks/fit_estimate.py --update writes it anew"


def test_the_goal_of_the_estimate():
    fit = read_fit()
    assert fit.mean_error <= 0.2
    assert all(each.mean_error <= WORST_ERROR for each in fit.families.values())
