"""Engines of another device, and which of several is given."""

import pytest

from tests.engines.damage import NOTHING
from tests.helpers.engine_records import ORIN, PLAN, RTX, changed, record, refusal

DEVICES = [
    (changed(ORIN, gpu="Orin 64GB"), "built for the GPU Orin 8GB (sm87), here is Orin 64GB (sm87)"),
    (
        changed(ORIN, gpu="NVIDIA Thor 128GB", compute_capability=(11, 0)),
        "built for the GPU Orin 8GB (sm87), here is NVIDIA Thor 128GB (sm110)",
    ),
    (changed(ORIN, compute_capability=(8, 6)), "built for the GPU Orin 8GB (sm87), here is Orin 8GB (sm86)"),
    (changed(ORIN, tensorrt="10.13.3.9"), "built by TensorRT 10.3.0, here is TensorRT 10.13.3.9"),
    (changed(ORIN, tensorrt="10.2.0"), "built by TensorRT 10.3.0, here is TensorRT 10.2.0"),
    (
        changed(ORIN, tensorrt="1.7.1", kind="tensorrt-rtx"),
        "built by TensorRT 10.3.0, here is TensorRT for RTX 1.7.1",
    ),
    (
        changed(ORIN, kind="tensorrt-lean"),
        "not built version-compatible, and TensorRT's lean runtime 10.3.0 runs no others",
    ),
    (None, NOTHING),
]


@pytest.mark.parametrize(("here", "reason"), DEVICES)
def test_store_refuses_engine_of_another_device(here, reason, store, bundle, built):
    assert refusal(store, bundle, here) == (built, reason)


@pytest.mark.parametrize(("here", "reason"), [row for row in DEVICES if row[0]])
def test_store_refuses_renamed_folder_of_another_device(here, reason, store, bundle, built):
    moved = store.folder("nuts", here)
    built.parent.rename(moved)
    assert refusal(store, bundle, here) == (moved / "detect.engine", reason)


@pytest.mark.parametrize(
    ("here", "reason"),
    [
        (changed(RTX, tensorrt="1.8.0"), "built by TensorRT for RTX 1.7.1, here is TensorRT for RTX 1.8.0"),
        (changed(RTX, tensorrt="10.3.0", kind="tensorrt"), "built by TensorRT for RTX 1.7.1, here is TensorRT 10.3.0"),
    ],
)
def test_store_rtx_engine_needs_its_own_release(here, reason, store, bundle):
    made = record(device=RTX, version_compatible=True)
    path = store.put(bundle, RTX, "detect", PLAN, made)
    assert store.check(bundle, "detect", RTX) == path
    assert refusal(store, bundle, here) == (path, reason)


@pytest.mark.parametrize(
    ("here", "reason"),
    [
        (ORIN, ""),
        (changed(ORIN, tensorrt="10.13.3.9"), ""),
        (changed(ORIN, tensorrt="10.3.0.26"), ""),
        (changed(ORIN, kind="tensorrt-lean"), ""),
        (changed(ORIN, tensorrt="10.13.0", kind="tensorrt-lean"), ""),
        (changed(ORIN, tensorrt="10.2.0"), "built by TensorRT 10.3.0, here is TensorRT 10.2.0"),
        (changed(ORIN, tensorrt="11.4.0"), "built by TensorRT 10.3.0, here is TensorRT 11.4.0"),
        (changed(ORIN, tensorrt="9.9.0"), "built by TensorRT 10.3.0, here is TensorRT 9.9.0"),
        (changed(ORIN, gpu="Orin 16GB"), "built for the GPU Orin 8GB (sm87), here is Orin 16GB (sm87)"),
        (changed(ORIN, kind="tensorrt-rtx"), "built by TensorRT 10.3.0, here is TensorRT for RTX 10.3.0"),
    ],
)
def test_store_version_compatible_engine_runs_on_later_minor_versions(here, reason, store, bundle):
    path = store.put(bundle, ORIN, "detect", PLAN, record(version_compatible=True))
    if not reason:
        assert store.check(bundle, "detect", here) == path
    else:
        versions = ": version-compatible, but nanoseg takes those of earlier versions of the same major alone"
        tail = versions if reason.startswith("built by") and here.kind == "tensorrt" else ""
        assert refusal(store, bundle, here) == (path, reason + tail)


def test_store_ignores_the_build_number_of_a_release(store, bundle):
    wheel, apt = (changed(ORIN, tensorrt=version) for version in ("10.13.3.9", "10.13.3"))
    path = store.put(bundle, wheel, "detect", PLAN, record(device=wheel, version_compatible=True))
    assert store.check(bundle, "detect", apt) == path


def test_store_prefers_own_then_same_gpu_then_latest(store, bundle):
    here = changed(ORIN, tensorrt="10.13.0")
    older, later = (changed(ORIN, tensorrt=version) for version in ("10.3.0", "10.9.0"))
    another = changed(ORIN, gpu="Another", tensorrt="10.13.0")
    store.put(bundle, another, "detect", PLAN, record(device=another))
    plain = store.put(bundle, later, "detect", PLAN, record(device=later))
    # The same GPU's goes before another's, though neither can run.
    assert refusal(store, bundle, here) == (plain, "built by TensorRT 10.9.0, here is TensorRT 10.13.0")
    first = store.put(bundle, older, "detect", PLAN, record(device=older, version_compatible=True))
    assert store.check(bundle, "detect", here) == first
    second = store.put(bundle, later, "detect", PLAN, record(device=later, version_compatible=True))
    assert store.check(bundle, "detect", here) == second
    own = store.put(bundle, here, "detect", PLAN, record(device=here))
    assert store.check(bundle, "detect", here) == own
    own.write_bytes(PLAN[:-1])
    assert store.check(bundle, "detect", here) == second
    assert store.list_states(bundle, here)[0].path == own
