"""The colour of videos: which matrix, primaries and transfer function their numbers follow, as H.273 numbers them.

A stream without tags is taken for BT.709 where it is larger than standard definition, else for BT.601, as players do.
Frames keep the primaries and the transfer function of their stream; only the matrix and the range are converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

BT709, BT470BG, SMPTE170M = 1, 5, 6
BT2020 = 9
_UNSPECIFIED = 2
_SD_WH = (1279, 576)  # the largest picture of standard definition
# FFmpeg's scaler numbers its matrices as H.273, but has one for both of BT.601 and one for both of BT.2020.
_SCALER_MATRICES = {BT709: 1, 4: 4, BT470BG: 5, SMPTE170M: 5, 7: 7, BT2020: 9, 10: 9}


@dataclass
class VideoFormat:
    """What a video says of its pixels, so that a copy says the same; complete when its first frame was read."""

    sample_aspect: Fraction = Fraction(1)  # width of a pixel over its height
    matrix: int = _UNSPECIFIED
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    def tags(self, size_wh: tuple[int, int]) -> tuple[int, int, int]:
        """Return matrix, primaries and transfer function for a video of that size; none is unspecified."""
        matrix = self.matrix if self.matrix in _SCALER_MATRICES else _default_matrix(size_wh)
        primaries, transfer = (
            tag if tag not in (0, _UNSPECIFIED) else BT709 for tag in (self.primaries, self.transfer)
        )
        return matrix, primaries, transfer


def scaler_matrix(matrix: int, size_wh: tuple[int, int]) -> int:
    """Return the number of a matrix for FFmpeg's scaler; that of the size where the tag says nothing."""
    return _SCALER_MATRICES.get(matrix) or _SCALER_MATRICES[_default_matrix(size_wh)]


def _default_matrix(size_wh: tuple[int, int]) -> int:
    return SMPTE170M if size_wh[0] <= _SD_WH[0] and size_wh[1] <= _SD_WH[1] else BT709
