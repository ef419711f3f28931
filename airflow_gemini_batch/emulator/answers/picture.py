"""A small valid PNG: stripes in two colours."""

from __future__ import annotations

import struct
import zlib

SIZE = 64
_STRIPE = 8


def png(digest: int) -> bytes:
    """`digest` (of the request) decides the two colours."""
    first, second = digest.to_bytes(16, "big")[:3], digest.to_bytes(16, "big")[3:6]
    row = b"\x00" + b"".join(first if x // _STRIPE % 2 else second for x in range(SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * SIZE, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
