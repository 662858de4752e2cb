"""Zip archives whose directory says more than their bytes hold, or that unpack to far more than they are."""

import struct
import zipfile


def bomb(path, names, size=1 << 30):
    """Write an archive of these entries, each of `size` zeros, at a thousandth of it."""
    block = bytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as entry:
                for _ in range(size >> 20):
                    entry.write(block)


def claim(path, size):
    """Let the directory of an archive say that each entry unpacks to `size` bytes."""
    raw = bytearray(path.read_bytes())
    at = 0
    while (at := raw.find(b"PK\1\2", at)) >= 0:
        struct.pack_into("<L", raw, at + 24, size)
        at += 4
    path.write_bytes(raw)


def claim_directory(path, size):
    """Let the end of an archive say that its directory has `size` bytes."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<L", raw, raw.rindex(b"PK\5\6") + 12, size)
    path.write_bytes(raw)
