"""The process that shows a window: frames come on stdin, a byte for each goes to stdout. See nanoseg.sinks.window.

Qt and X11 end the process that uses them where the display cannot be reached, or is lost; here that is this one.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from typing import BinaryIO

import numpy as np

HEADER = struct.Struct("<II")  # height, width of the (H, W, 3) uint8 BGR pixels that follow
OPENED, SHOWN, QUIT = b"o", b"s", b"q"
NO_WINDOWS = 3  # exit code: OpenCV was built without windows
TITLE = "nanoseg"
_QUIT_KEYS = (ord("q"), 27)  # q or Escape


def show(frames: BinaryIO, replies: BinaryIO, title: str = TITLE) -> int:
    """Show frames until there is no more; returns the exit code."""
    import cv2

    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
    except cv2.error:
        return NO_WINDOWS
    replies.write(OPENED)
    replies.flush()
    while len(header := frames.read(HEADER.size)) == HEADER.size:
        height, width = HEADER.unpack(header)
        pixels = frames.read(height * width * 3)
        if len(pixels) < height * width * 3:
            break
        cv2.imshow(title, np.frombuffer(pixels, np.uint8).reshape(height, width, 3))
        replies.write(QUIT if cv2.waitKey(1) & 0xFF in _QUIT_KEYS else SHOWN)
        replies.flush()
    cv2.destroyAllWindows()
    return 0


def main() -> None:
    """Show the frames of stdin."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent ends this process by closing stdin
        signal.signal(number, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    sys.exit(show(sys.stdin.buffer, replies, *sys.argv[1:]))


if __name__ == "__main__":
    main()
