"""[networks] of bundle.toml: what each network is, and where its weights came from."""

from __future__ import annotations

import json
from collections.abc import Mapping

from nanoseg.bundle.external_data import hash_external_data
from nanoseg.bundle.manifest import NetworkEntry, NetworkTable
from nanoseg.onnx_graphs.deploy.compose import Networks
from nanoseg.onnx_graphs.int8.quantize import METADATA as QUANTIZED_BY
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.utils.hashing import sha256_of_file


def network_table(networks: Networks, weights: str) -> NetworkTable:
    """Return the entries of a bundle's networks.

    Args:
        networks: the networks.
        weights: where the weights came from, before what each file says itself.
    """
    return NetworkTable(
        detector=_network(networks.detector, weights),
        encoder=_network(networks.encoder, weights),
        decoder=_network(networks.decoder, weights),
        mask_decoder=_network(networks.mask_decoder, weights) if networks.mask_decoder else None,
    )


def _network(network: SourceNetwork, weights: str) -> NetworkEntry:
    metadata = network.metadata
    return NetworkEntry(
        architecture=metadata.get("architecture", network.path.stem),
        sha256=sha256_of_file(network.path),
        external=hash_external_data(network.path),
        weights="; ".join(filter(None, (weights, metadata.get("weights"), _quantization_note(metadata)))),
    )


def _quantization_note(metadata: Mapping[str, str]) -> str:
    """Return how a detector was calibrated, from the metadata that nanoseg's quantizer writes; else nothing."""
    try:
        record = json.loads(metadata[QUANTIZED_BY])
        percentile = f" {record['percentile']}" if "percentile" in record else ""
        kept = f", in float: {', '.join(record['kept'])}" if record["kept"] else ""
        return f"INT8 by {record['method']}{percentile} over {record['pictures']} images{kept}"
    except (KeyError, TypeError, ValueError, RecursionError):  # not quantized, or by other software
        return ""
