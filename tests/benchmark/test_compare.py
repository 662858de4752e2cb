"""Reports compare as equal or slower as they are; what else differs is told."""

import numpy as np
import pytest

from nanoseg.benchmark.certificate import certify, read_report
from nanoseg.benchmark.compare import compare_interleaved, compare_reports
from nanoseg.benchmark.latency import Effort
from nanoseg.benchmark.report import Samples, make_configuration
from nanoseg.errors import UsageError
from nanoseg.utils.names import encode_json
from tests.benchmark.reports import report, series, some_report

PAIRS = 40


def words(comparison):
    return {row.word for row in comparison.rows}


def test_two_runs_of_the_same_compare_as_equal():
    """False alarms of any row, among all of a comparison, in at most 5 % of 40 pairs."""
    pairs = [[some_report(2 * i + which, objects=(4,)) for which in range(2)] for i in range(PAIRS)]
    alarms = [words(compare_reports(*pair)) != {"equal"} for pair in pairs]
    assert sum(alarms) <= 0.05 * PAIRS


def test_one_stage_slower_by_three_percent_is_seen():
    seen = wrong = 0
    for i in range(PAIRS):
        first, second = some_report(1000 + 2 * i, objects=(4,)), some_report(1001 + 2 * i, "detect", objects=(4,))
        slower = {row.stage for row in compare_reports(first, second).rows if row.word == "slower"}
        seen += "detect" in slower
        wrong += bool(slower & {"prepare", "embed", "segment", "masks"})
    assert seen >= 0.8 * PAIRS
    assert wrong <= 0.05 * PAIRS


def test_slower_and_faster_are_of_the_second():
    first, second = some_report(1), some_report(2)
    for each in second.configurations:
        each.stages = {name: samples.of(1.2 * samples.values_ms()) for name, samples in each.stages.items()}
    assert {row.word for row in compare_reports(first, second).rows if row.whole} == {"slower"}
    assert {row.word for row in compare_reports(second, first).rows if row.whole} == {"faster"}


def test_stages_that_take_next_to_nothing_are_not_compared():
    """Each further row makes all intervals wider."""
    stages = [row.stage for row in compare_reports(some_report(1), some_report(2)).rows]
    assert "masks" in stages  # 0.8 of 60 ms
    rng = np.random.default_rng(0)
    tiny = report([make_configuration(series(rng, stages={"detect": 50.0, "masks": 0.1}), "640x480", 1, 0.0)])
    assert [row.stage for row in compare_reports(tiny, tiny).rows] == ["detect", "end_to_end"]


def test_stages_that_some_frames_lack_are_not_compared():
    """Of a camera: a frame without objects is not embedded on a CPU."""
    first, second = some_report(1), some_report(2)
    empty = second.configurations[0].stages["embed"].values_ms()
    empty[5] = 0
    second.configurations[0].stages["embed"] = type(second.configurations[0].stages["embed"]).of(empty)
    title = first.configurations[0].title
    stages = [row.stage for row in compare_reports(first, second).rows if row.title == title]
    assert stages == ["prepare", "detect", "segment", "masks", "end_to_end"]


def test_environments_that_differ_are_told():
    first, second = some_report(1), some_report(2)
    assert compare_reports(first, second).differences == []
    second.environment |= {"power_mode": "MAXN_SUPER", "libraries": {"numpy": "2.2.6"}, "load_average": 7.0}
    second.bundle = {**second.bundle, "sha256": "b" * 64}
    second.backend, second.valid, second.reasons = "onnxruntime", False, ["unstable: this"]
    assert compare_reports(first, second).differences == [
        "bundle sha256: aaaaaaaaaaaa against bbbbbbbbbbbb",
        "backend: tensorrt against onnxruntime",
        "power_mode: 15W against MAXN_SUPER",
        "numpy: 1.26.4 against 2.2.6",
        "the second is not valid: unstable: this",
    ]


def test_other_load_and_quick_looks_are_told():
    first, second = some_report(1), some_report(2)
    first.environment["cpu_share_of_others"], second.environment["cpu_share_of_others"] = 0.02, 0.11
    assert compare_reports(first, second).differences == []
    second.environment["cpu_share_of_others"] = 0.78
    first.quick = second.quick = True
    found = compare_reports(first, second).differences
    assert found[0] == "processor time of others: 2% against 78%"
    assert [each.partition(":")[0] for each in found[1:]] == [
        f"the {which} is a quick look of 1024 frames each" for which in ("first", "second")
    ]


def test_configurations_of_one_report_alone_are_told():
    found = compare_reports(some_report(1, objects=(1, 4)), some_report(2, objects=(4, 8))).differences
    assert found == [
        "only the first has: 640x480, 1 object, call; 640x480, 1 object, stream",
        "only the second has: 640x480, 8 objects, call; 640x480, 8 objects, stream",
    ]


def test_latency_of_zero_is_refused():
    """The age of a camera's frame, where the clock was set back."""
    first, second = some_report(1), some_report(2)
    values = second.configurations[0].whole.values_ms()
    values[7] = 0
    second.configurations[0].stages["end_to_end"] = Samples.of(values)
    with pytest.raises(UsageError, match="end_to_end: a latency of 0 ms cannot be compared: was the clock set back"):
        compare_reports(first, second)


def test_reports_without_a_common_configuration_are_refused():
    first, second = some_report(1), some_report(2)
    for each in second.configurations:
        each.frame = "1280x720"
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_reports(first, second)


class Turns:
    """A segmenter that takes what its clock says, and a machine whose slowness both share."""

    def __init__(self, clock, factor, rng):
        self.clock, self.factor, self.rng = clock, factor, rng

    def __call__(self, _):
        self.clock.slowness *= np.exp(self.rng.normal(0, 0.02))
        spent_ms = 20 * self.clock.slowness * self.factor * np.exp(self.rng.normal(0, 0.02))
        self.clock.now_ns += int(1e6 * spent_ms)
        self.latency_ms = {"detect": spent_ms}
        return self

    def materialize(self):
        return self

    def __len__(self):
        return 1


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_ns, slowness = 0, 1.0

    monkeypatch.setattr("nanoseg.benchmark.latency.time.perf_counter_ns", lambda: Clock.now_ns)
    monkeypatch.setattr("nanoseg.benchmark.compare.time.perf_counter", lambda: Clock.now_ns / 1e9)
    return Clock


@pytest.mark.parametrize(("factor", "word"), [(1.0, "equal"), (1.03, "slower"), (0.97, "faster")])
def test_interleaved_pairs_see_three_percent_on_a_drifting_machine(clock, factor, word):
    rng = np.random.default_rng(1)
    one, other = Turns(clock, 1.0, rng), Turns(clock, factor, rng)
    comparison = compare_interleaved(one, other, ["frame"], Effort(300, 0.0, 2), "640x480, 1 object, call")
    assert [(row.stage, row.word) for row in comparison.rows] == [("detect", word), ("end_to_end", word)]
    assert comparison.interleaved


def test_certificate_survives_its_file_and_no_change(tmp_path):
    path = tmp_path / "bench.json"
    content = certify(some_report(3))
    path.write_bytes(encode_json(content))
    found, problems = read_report(path)
    assert problems == []
    assert certify(found) == content
    indented = tmp_path / "indented.json"
    indented.write_bytes(encode_json(content, indent=True))
    assert read_report(indented)[1] == []


def _other_percentile(content):
    content["configurations"][0]["stages"]["detect"]["percentiles_ms"]["p50"] -= 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(valid=False), "no reason is given"),
        (lambda content: content.update(reasons=["throttled"]), "it is called valid, and gives reasons"),
        (_other_percentile, "detect: the percentiles are not those of the samples"),
        (lambda content: content["configurations"][1].update(stable=False), "says otherwise"),
        (lambda content: content["environment"].update(power_mode="MAXN"), "its content was changed"),
        (lambda content: content["configurations"][0].update(frames=9), "it says 9 frames, and has 1024"),
        (lambda content: content["answers"].update(right=False), "called valid, and its engines gave wrong answers"),
    ],
)
def test_certificate_shows_changes(tmp_path, change, problem):
    content = certify(some_report(3))
    change(content)
    path = tmp_path / "bench.json"
    path.write_bytes(encode_json(content))
    problems = read_report(path)[1]
    assert any("its content was changed" in each for each in problems)
    assert any(problem in each for each in problems)


def _samples(content, values):
    made = Samples.of(np.array(values, np.float32))
    content["configurations"][0]["stages"]["end_to_end"]["float32_ms"] = made.float32_ms


def test_certificate_of_an_unstable_report_is_not_valid(tmp_path):
    report = some_report(3)
    report.configurations[0].stages["end_to_end"] = Samples.of(np.linspace(10, 30, 1024))
    report.configurations[0].stable = False
    (tmp_path / "bench.json").write_bytes(encode_json(certify(report)))
    assert read_report(tmp_path / "bench.json")[1] == ["it is called valid, and was unstable"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(kind="other"), "wanted a report of nanoseg bench, got 'other'"),
        (lambda content: content.pop("kind"), "wanted a report of nanoseg bench, got 'another file'"),
        (lambda content: content.update(format=9), "format: wanted 1, got 9"),
        (lambda content: content.update(queries="many"), "queries"),
        (lambda content: content["configurations"][0]["stages"]["detect"].update(float32_ms="AAA"), "float32_ms"),
        (lambda content: content["configurations"][0]["stages"].pop("end_to_end"), "end_to_end"),
        (lambda content: content["configurations"][0].update(mode="x"), "mode"),
        (lambda content: _samples(content, []), "640x480, 1 object, call: float32_ms: wanted the latencies of frames"),
        (lambda content: _samples(content, [-3.0] * 1024), "float32_ms: wanted latencies, got numbers below 0"),
        (lambda content: _samples(content, [np.nan] * 1024), "float32_ms: wanted latencies, got numbers below 0"),
    ],
)
def test_certificate_of_no_report_is_refused(tmp_path, change, message):
    content = certify(some_report(3))
    change(content)
    path = tmp_path / "bench.json"
    path.write_bytes(encode_json(content))
    with pytest.raises(UsageError, match=message):
        read_report(path)
