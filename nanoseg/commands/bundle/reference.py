"""`nanoseg bundle reference`: add reference frames to a bundle."""

from __future__ import annotations

from nanoseg.bundle import open_bundle
from nanoseg.bundle.add_reference import add_reference
from nanoseg.bundle.reference import REFERENCE
from nanoseg.utils.terminal import plural, print_error, print_line


def reference(name_or_path: str, images: str | None) -> None:
    """Add reference frames and print what is in them; raises NanosegError."""
    folder = open_bundle(name_or_path).path
    frames = add_reference(folder, images).frames
    objects = [each for frame in frames for each in frame.objects]
    stable = sum(each.stable for each in objects)
    print_line(
        f"{folder / REFERENCE}: {plural(len(frames), 'frame')} with {plural(len(objects), 'object')}, {stable} of them "
        "stable"
    )
    if not stable:
        print_error("nanoseg bench cannot check engines by these: no object is stable; give other --images")
