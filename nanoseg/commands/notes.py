"""Notes that several verbs print beside their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.utils.terminal import print_error

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

NAMED_CLASSES = 4


def note_machine_parts(bundle: Bundle, source: str) -> None:
    """State what the embedded bundle knows, and where other weights come from, for a source that is not parts://."""
    if source.startswith("parts:") or bundle.path != EMBEDDED_FOLDER / EMBEDDED_BUNDLE:
        return
    known = ", ".join(bundle.labels[:NAMED_CLASSES])
    print_error(
        f"note: the bundle {EMBEDDED_BUNDLE} knows {len(bundle.labels)} drawn machine parts ({known} ...), nothing "
        "else; for everyday objects: nanoseg bundle get coco, then --bundle coco"
    )
