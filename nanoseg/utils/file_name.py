"""The name of a file beside the one that lists it, as a field of a msgspec schema."""

from __future__ import annotations

from typing import Annotated

import msgspec

# \Z, as $ accepts a line feed at the end, too; 255 bytes are the most that file systems take.
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", max_length=255)]
