"""Headers of TIFF files, classic and BigTIFF, as strict as it takes to know what libtiff will decode.

libtiff repairs odd headers in its own way: of two widths it takes the first, for example. What could be read in two
ways is refused, so that the size that is checked is the size that is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES = 254, 256, 257, 258, 262, 273, 277
_STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 279, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _DNG_VERSION = 338, 339, 50706
_COMPRESSION, _FILL_ORDER, _STRIP_ROWS, _PLANES = 259, 266, 278, 284
_DEFLATE = (8, 32946)  # the number, and that of before 1998
_NAMES = {
    _SUBFILE: "kind of page",
    _WIDTH: "width",
    _HEIGHT: "height",
    _BITS: "bits of a sample",
    _COMPRESSION: "compression",
    _FILL_ORDER: "order of bits",
    _PHOTOMETRIC: "kind of colours",
    _STRIP_OFFSETS: "places of its strips",
    _SAMPLES: "samples of a pixel",
    _STRIP_ROWS: "rows of a strip",
    _STRIP_BYTES: "sizes of its strips",
    _PLANES: "arrangement of its samples",
    _TILE_WIDTH: "width of a tile",
    _TILE_HEIGHT: "height of a tile",
    _TILE_OFFSETS: "places of its tiles",
    _TILE_BYTES: "sizes of its tiles",
    _EXTRA_SAMPLES: "kind of alpha",
    _SAMPLE_FORMAT: "format of its samples",
    _DNG_VERSION: "version of DNG",
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # the types of TIFF that hold whole numbers
_RGB, _YCBCR, _PREMULTIPLIED, _STRAIGHT, _APART = 2, 6, 1, 2, 2
_MAX_PAGES, _MAX_ENTRIES, _MAX_ALL_ENTRIES = 10_000, 4096, 1 << 20
_MAX_TILE_PIXELS = 1 << 26  # libtiff decodes whole tiles, however small the picture is


@dataclass(frozen=True)
class TiffHeader:
    """What a TIFF's first page is, and how many pages there are."""

    size_wh: tuple[int, int]
    complete: bool  # all strips or tiles of the first page lie within the file
    pages: int  # without previews and masks
    premultiplied: bool = False  # RGB values were multiplied with alpha
    straight_alpha_at: tuple[int, int] | None = None  # the bytes that say that they were not, from and up to
    # Offset and size of its strips or tiles, and the bytes of their pixels, where deflate compressed them.
    deflated: tuple[tuple[int, int, int], ...] = ()


def read_tiff_header(data: bytes) -> TiffHeader:
    """Read the header of a TIFF file.

    Raises:
        ValueError: it contradicts itself, or the picture is of a kind that is not read.
        struct.error, IndexError: the file ends inside it.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    if data[8:10] == b"CR" and not big:
        raise ValueError("raw photograph (CR2)")
    if big and struct.unpack_from(order + "HH", data, 4) != (8, 0):
        raise ValueError("BigTIFF with offsets that are not of 8 bytes")
    directory = _Directory(data, order, big)
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    first, at = directory.read(at)
    pages = 1 + _count_pages(directory, at)
    if first.get(_DNG_VERSION) is not None:
        raise ValueError("raw photograph (DNG)")
    if first.number(_SUBFILE, 0) & 1:
        raise ValueError("TIFF that begins with a preview, as raw photographs do")
    width, height = first.number(_WIDTH), first.number(_HEIGHT)
    samples = first.number(_SAMPLES, 1)
    _check_samples(first, samples)
    if first.number(_TILE_WIDTH, 0) * first.number(_TILE_HEIGHT, 0) > _MAX_TILE_PIXELS:
        raise ValueError(f"TIFF with tiles of {first.number(_TILE_WIDTH)} x {first.number(_TILE_HEIGHT)} pixels")
    alpha = None
    if samples == 4 and first.number(_PHOTOMETRIC, _RGB) == _RGB and _EXTRA_SAMPLES in first:
        alpha = first.number(_EXTRA_SAMPLES)
    return TiffHeader(
        (width, height),
        all(
            _within(first, *tags, len(data)) for tags in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES))
        ),
        pages,
        premultiplied=alpha == _PREMULTIPLIED,
        straight_alpha_at=first.values_at[_EXTRA_SAMPLES] if alpha == _STRAIGHT else None,
        deflated=tuple(_deflated(first, width, height, samples)),
    )


class _Tags(dict[int, "tuple[int, ...]"]):
    """The tags of one page that matter here, and where their values lie in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.values_at: dict[int, tuple[int, int]] = {}  # the first byte, and that behind the last one

    def number(self, tag: int, default: int | None = None) -> int:
        values = self.get(tag)
        if values is None:
            if default is None:
                raise ValueError(f"TIFF without its {_NAMES[tag]}")
            return default
        if len(values) != 1:
            raise ValueError(f"TIFF with {len(values)} values for its {_NAMES[tag]}")
        return values[0]


class _Directory:
    """Reads the directories of a TIFF, one a page."""

    def __init__(self, data: bytes, order: str, big: bool) -> None:
        self._data, self._order = data, order
        self.entries = 0  # of all pages that were read
        self._count, self._entry, self._word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")

    def read(self, at: int, wanted: Container[int] = _NAMES) -> tuple[_Tags, int]:
        """Return a page's wanted tags and where the next page is, 0 after the last one."""
        (entries,) = self._unpack(self._count, at)
        if entries > _MAX_ENTRIES:
            raise ValueError(f"TIFF with {entries} tags on a page")
        self.entries += entries
        at += struct.calcsize("=" + self._count)
        tags = _Tags()
        head_bytes, word_bytes = struct.calcsize("=" + self._entry), struct.calcsize("=" + self._word)
        for _ in range(entries):
            tag, kind, count = self._unpack(self._entry, at)
            if tag in wanted:
                if tag in tags:
                    raise ValueError(f"TIFF that gives its {_NAMES[tag]} twice")
                if kind not in _INTEGERS:
                    raise ValueError(f"TIFF whose {_NAMES[tag]} is of type {kind}, not a whole number")
                form = f"{count}{_INTEGERS[kind]}"
                values_at = at + head_bytes
                if struct.calcsize("=" + form) > word_bytes:
                    (values_at,) = self._unpack(self._word, values_at)
                tags[tag] = self._unpack(form, values_at)
                tags.values_at[tag] = values_at, values_at + struct.calcsize("=" + form)
            at += head_bytes + word_bytes
        return tags, self._unpack(self._word, at)[0]

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        if at + struct.calcsize("=" + form) > len(self._data):  # before struct makes room for billions of values
            raise IndexError(at)
        return struct.unpack_from(self._order + form, self._data, at)


def _count_pages(directory: _Directory, at: int) -> int:
    """Count the pages from a directory on; previews of another resolution and masks are none."""
    pages, seen = 0, set[int]()
    while at and at not in seen and len(seen) < _MAX_PAGES and directory.entries < _MAX_ALL_ENTRIES:
        seen.add(at)
        try:
            # No other tag: thousands of pages may name the same millions of values.
            tags, at = directory.read(at, (_SUBFILE,))
            pages += not tags.number(_SUBFILE, 0) & 0b101
        except (ValueError, IndexError, struct.error):  # the first page may be sound all the same
            break
    return pages


def _check_samples(tags: _Tags, samples: int) -> None:
    bits, formats = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
    if not 1 <= samples <= 4:
        raise ValueError(f"TIFF with {samples} samples a pixel")
    if len(set(bits)) != 1 or bits[0] > 16:
        raise ValueError(f"TIFF with samples of {' and '.join(str(each) for each in sorted(set(bits)))} bits")
    if set(formats) - {1, 4}:  # 4: unknown
        raise ValueError("TIFF with samples that are signed or no whole numbers")


def _deflated(tags: _Tags, width: int, height: int, samples: int) -> Iterator[tuple[int, int, int]]:
    if tags.number(_COMPRESSION, 1) not in _DEFLATE or tags.number(_FILL_ORDER, 1) != 1:
        return
    apart = tags.number(_PLANES, 1) == _APART
    # Of subsampled colours there are fewer: the brightness alone is counted.
    bits = tags.get(_BITS, (1,))[0] * (1 if apart or tags.number(_PHOTOMETRIC, _RGB) == _YCBCR else samples)
    if _TILE_OFFSETS in tags:
        pixels = -(-tags.number(_TILE_WIDTH) * bits // 8) * tags.number(_TILE_HEIGHT)
        for at, size in zip(tags[_TILE_OFFSETS], tags.get(_TILE_BYTES, ()), strict=False):
            yield at, size, pixels
        return
    rows = min(tags.number(_STRIP_ROWS, height), height) or height
    tops = list(range(0, height, rows)) * (samples if apart else 1)
    for at, size, top in zip(tags.get(_STRIP_OFFSETS, ()), tags.get(_STRIP_BYTES, ()), tops, strict=False):
        yield at, size, -(-width * bits // 8) * min(rows, height - top)


def _within(tags: _Tags, offsets: int, sizes: int, file_bytes: int) -> bool:
    if offsets not in tags or sizes not in tags:
        return True
    return all(at + size <= file_bytes for at, size in zip(tags[offsets], tags[sizes], strict=False))
