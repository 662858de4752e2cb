"""TIFF files of any kind, also of those that no library writes."""

import struct

import numpy as np

_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}
_FORMS = {1: "B", 3: "H", 4: "I", 16: "Q"}
WIDTH, HEIGHT, SUBFILE, PHOTOMETRIC, EXTRA_SAMPLES, ORIENTATION = 256, 257, 254, 262, 338, 274
SHORT, LONG, LONG8 = 3, 4, 16


def tiff(image, *, order="<", big=False, planar=1, more=(), **tags):
    """Return an uncompressed TIFF of one strip.

    Args:
        image: (H, W) or (H, W, samples).
        order: "<" or ">".
        big: BigTIFF.
        planar: 2 for a plane for each sample.
        more: further entries, (tag, type, values), written before those of the same tag.
        tags: photometric, extra, orientation, subfile; and width, height as (type, value) in place of the image's.
    """
    image = np.asarray(image)
    height, width = image.shape[:2]
    samples = 1 if image.ndim == 2 else image.shape[2]
    planes = image if planar == 1 else image.transpose(2, 0, 1)
    pixels = np.ascontiguousarray(planes).astype(image.dtype.newbyteorder(order)).tobytes()
    strips = 1 if planar == 1 else samples
    entries = [
        (WIDTH, *_typed(tags.get("width", (LONG, width)))),
        (HEIGHT, *_typed(tags.get("height", (LONG, height)))),
        (258, SHORT, [image.itemsize * 8] * samples),
        (259, SHORT, [1]),
        (PHOTOMETRIC, SHORT, [tags.get("photometric", 2 if samples >= 3 else 1)]),
        (273, LONG, [0] * strips),
        (277, SHORT, [samples]),
        (278, LONG, [height]),
        (279, LONG, [len(pixels) // strips] * strips),
        (284, SHORT, [planar]),
        (339, SHORT, [{"u": 1, "i": 2, "f": 3}[image.dtype.kind]] * samples),
    ]
    for name, tag in (("extra", EXTRA_SAMPLES), ("orientation", ORIENTATION), ("subfile", SUBFILE)):
        if name in tags:
            entries.append((tag, SHORT, [tags[name]]))
    entries = sorted([*more, *entries], key=lambda entry: entry[0])
    inline, word, count = (8, "Q", "Q") if big else (4, "I", "H")
    start = 16 if big else 8
    behind = start + struct.calcsize("=" + count) + len(entries) * (4 + 2 * inline) + inline
    outside = sum(size for _, kind, values in entries if (size := _SIZES[kind] * len(values)) > inline)
    data_at = behind + outside
    body, values_outside = struct.pack(order + count, len(entries)), b""
    for tag, kind, values in entries:
        if tag == 273:
            values = [data_at + i * (len(pixels) // strips) for i in range(strips)]
        raw = struct.pack(order + _FORMS[kind] * len(values), *values)
        body += struct.pack(order + "HH" + word, tag, kind, len(values))
        if len(raw) > inline:
            body += struct.pack(order + word, behind + len(values_outside))
            values_outside += raw
        else:
            body += raw.ljust(inline, b"\0")
    magic = b"II" if order == "<" else b"MM"
    head = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    return magic + head + body + bytes(inline) + values_outside + pixels


def _typed(value):
    return value[0], [value[1]]
