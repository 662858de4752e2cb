"""Which frames of a stream are whole: damage spreads from frame to frame until the next whole keyframe.

FFmpeg marks the frame in which data is missing at best, not those that are predicted from it, and of H.265 none: a
smeared picture has no mark. What is missing is told only by its messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Of the network: packets that did not come. The decoder may notice nothing, where they were a whole frame.
_LOST = re.compile(r"RTP: missed|dropping old packet|Continuity check failed|PES packet size mismatch")
# Of decoders. Others are said of cameras whose pictures are whole: "SEI truncated", "deprecated pixel format".
_BROKEN = re.compile(
    r"error while decoding|concealing|Could not find ref|Frame num gap|[Mm]issing reference|reference picture missing"
    r"|undecodable NALU|entry_point_offset|decode_slice_header error|block unavailable|co located POCs unavailable"
    r"|Error constructing the frame RPS|Invalid NAL unit|corrupt|overread \d|dc: bad vlc|error (dc|count|y=)",
)
_DOUBTFUL_KEYFRAMES = 3  # refused for messages alone, after which messages of the decoder are not believed


@dataclass
class DamageGate:
    """Let whole frames pass."""

    damaged: int = 0  # frames that did not
    _whole: bool = False  # nothing passes before the first keyframe
    _doubtful: int = 0

    def lose(self, count: int) -> None:
        """Note that packets could not be read or decoded: nothing passes before the next keyframe."""
        self._whole = False
        self.damaged += count

    def passes(self, keyframe: bool, marked: bool, network: list[str], decoder: list[str]) -> bool:
        """Return whether a frame is whole, and count it if not.

        Args:
            keyframe: whether it is decoded without others.
            marked: whether FFmpeg marks it as damaged.
            network: messages of FFmpeg while the frame was received.
            decoder: messages while it was decoded.
        """
        lost = any(map(_LOST.search, network))
        broken = any(map(_BROKEN.search, decoder))
        if keyframe:
            # Some cameras' every frame draws complaints, and looks well.
            only_said = broken and not (lost or marked)
            self._doubtful = self._doubtful + 1 if only_said else 0 if not broken else self._doubtful
        if broken and self._doubtful >= _DOUBTFUL_KEYFRAMES:
            broken = False
        self._whole = (self._whole or keyframe) and not (lost or marked or broken)
        self.damaged += not self._whole
        return self._whole
