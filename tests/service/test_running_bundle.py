"""The bundle that a start chooses, and what a swap asks of the service."""

from types import SimpleNamespace

import msgspec
import pytest

from nanoseg.errors import BundleError, EngineError, UsageError
from nanoseg.service import running_bundle
from nanoseg.service.config import ServiceConfig
from nanoseg.service.running_bundle import RunningBundle
from nanoseg.service.state_folder import StateFolder
from nanoseg.service.swap import bundle_memory
from tests.fakes.segmenter import FakeSegmenter


def a_config(**model):
    return msgspec.convert({"source": [{"name": "belt", "url": "parts://"}], "model": model}, ServiceConfig)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A service on bundles that are there or not, with what it logs."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    there, lines = {"parts", "new"}, []

    def load(config, bundle):
        if bundle not in there:
            raise BundleError(f"{bundle}: no such bundle")
        return FakeSegmenter(None)

    monkeypatch.setattr(running_bundle, "load_model", load)
    log = SimpleNamespace(event=lambda line, *_: lines.append(line), tell=lambda kind, line: lines.append(line))

    def start(**model):
        return RunningBundle(lambda: a_config(**model), StateFolder(), log)

    return SimpleNamespace(there=there, lines=lines, start=start, folder=tmp_path, log=log)


def test_running_bundle_after_a_swap(machine):
    machine.start().keep("new", "parts", watched=False)
    bundle = machine.start()
    bundle.open()
    assert (bundle.running, bundle.before) == ("new", "parts")
    assert machine.lines == [
        "bundle new runs, as it did last; parts is configured: `nanoseg service swap parts` tries it"
    ]


def test_running_bundle_where_the_swapped_one_is_gone(machine):
    machine.start().keep("new", "parts", watched=False)
    machine.there.remove("new")
    bundle = machine.start()
    bundle.open()
    assert bundle.running == "parts"
    assert machine.lines == ["bundle new, which ran last, fails: new: no such bundle; parts runs"]


def test_running_bundle_where_the_configured_one_is_gone(machine):
    machine.there.clear()
    with pytest.raises(BundleError, match="parts: no such bundle"):
        machine.start().open()


def test_running_bundle_where_a_new_one_ended_the_process(machine):
    machine.start().keep("new", "parts", watched=True)
    bundle = machine.start()
    bundle.open()
    assert bundle.running == "parts"
    assert machine.lines == [
        "bundle new is put back: the service has ended without having been told to, soon after it was swapped in; "
        "parts runs"
    ]


def test_running_bundle_that_cannot_be_kept(machine):
    bundle = machine.start()
    machine.folder.joinpath("service.json").mkdir()
    bundle.keep("new", "parts", watched=False)
    assert machine.lines == ["the swap cannot be kept for the next start: Is a directory"]


def test_running_bundle_fits_a_segmenter_to_the_configuration_of_the_moment(machine):
    segmenter = FakeSegmenter(None)
    segmenter.bundle.confidence, segmenter.bundle.iou, segmenter.bundle.nms = 0.3, 0.6, "by-class"
    machine.start(confidence=0.5, classes=["gear"], max_objects=3).fit("parts", segmenter)
    assert (segmenter.confidence, segmenter.iou, segmenter.max_objects) == (0.5, 0.6, 3)
    assert segmenter.class_ids.tolist() == [2]
    assert segmenter.nms == "by-class"
    machine.start(nms="across-classes").fit("parts", segmenter)
    assert segmenter.nms == "across-classes"
    with pytest.raises(UsageError, match=r"model\.classes: classes: no such class: person"):
        machine.start(classes=["person"]).fit("parts", segmenter)


@pytest.fixture
def reloaded(machine):
    """A service's bundle, whose configuration a test reads again."""
    now = [a_config(classes=["gear"])]
    bundle = RunningBundle(lambda: now[0], StateFolder(), machine.log)

    def reload(**model):
        config = a_config(**model)
        after = bundle.config_after(config)
        bundle.renamed(now[0], config)
        now[0] = config
        assert bundle.config == after
        return after.model.classes

    return SimpleNamespace(
        bundle=bundle, reload=reload, again=lambda: RunningBundle(lambda: now[0], StateFolder(), machine.log)
    )


def test_running_bundle_is_asked_for_its_own_until_another_one_takes_over(reloaded):
    """A file that names another bundle has its classes; those of the running one are kept, also for the next start."""
    bundle = reloaded.bundle
    assert reloaded.reload(bundle="night", classes=["person"]) == ["gear"]
    assert bundle.config_of("night").model.classes == ["person"]
    bundle.keep("parts", "", watched=False)
    assert (reloaded.again().running, reloaded.again().config.model.classes) == ("parts", ["gear"])
    bundle.swapped("night")
    assert bundle.config.model.classes == ["person"]
    bundle.keep("night", "parts", watched=True)  # and the process dies
    assert (reloaded.again().running, reloaded.again().config.model.classes) == ("parts", ["gear"])
    assert reloaded.reload(classes=["flange"]) == ["person"]  # parts is configured again, and tried
    bundle.swapped("parts")
    assert bundle.config.model.classes == ["flange"]


def test_running_bundle_that_no_file_named_follows_the_file(reloaded):
    bundle = reloaded.bundle
    bundle.swapped("guest")
    assert reloaded.reload(classes=["washer"]) == ["washer"]
    assert reloaded.reload(bundle="night", classes=["person"]) == ["washer"]  # night is refused
    assert reloaded.reload(classes=["flange"]) == ["flange"]
    assert reloaded.reload(bundle="guest", classes=["bearing"]) == ["bearing"]
    assert bundle.config_of("parts").model.classes == ["flange"]  # where guest fails


def test_running_bundle_estimates_weights_as_float32(machine, monkeypatch):
    """The sizes of parts: 3.3 MB as int8, 4.8 MB as fp16, 16.4 MB as fp32."""
    bundle = machine.start(backend="onnxruntime")
    assert bundle.estimate_mb("parts") == pytest.approx(4 * 3.25 + 2 * 4.83 + 16.41, abs=0.1)
    monkeypatch.setattr(bundle_memory, "available_mb", lambda: 220.0)
    with pytest.raises(EngineError, match="it takes 39 MB or more, and 220 MB are available on this machine"):
        bundle.estimate_mb("parts")
    with pytest.raises(UsageError, match=r"model\.classes"):
        machine.start(classes=["person"]).estimate_mb("parts")


def test_running_bundle_estimates_engines_by_their_records(machine, monkeypatch):
    memory = [{"gpu_bytes": None, "pinned_bytes": None}, {"gpu_bytes": 300_000_000, "pinned_bytes": 5_000_000}]
    monkeypatch.setattr("nanoseg.backends.describe_engines.describe_engines", lambda *_: {"memory": memory})
    assert machine.start(backend="auto").estimate_mb("parts") == pytest.approx(305)
