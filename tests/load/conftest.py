"""A bundle of tiny networks."""

import pytest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from nanoseg.bundle.make import BundleOptions, make_bundle
    from tests.helpers import tiny_networks as tiny

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "labels.txt").write_text("bolt\nnut\ngear\n")
    options = BundleOptions(
        detector=tiny.some_detector(folder / "detector.onnx"),
        encoder=tiny.encoder(folder / "encoder.onnx"),
        decoder=tiny.decoder(folder / "decoder.onnx"),
        name="tiny",
        labels=folder / "labels.txt",
        rescale_px=60,
    )
    return make_bundle(options, folder / "bundle").path
