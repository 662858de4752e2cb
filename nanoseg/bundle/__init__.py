"""Model bundles: opening, making, installing and measuring them."""

from nanoseg.bundle.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER, Bundle, Graph, find_bundle, open_bundle

__all__ = ["EMBEDDED_BUNDLE", "EMBEDDED_FOLDER", "Bundle", "Graph", "find_bundle", "open_bundle"]
