"""Image files that Pillow does not write."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png(rows: NDArray[np.integer], bits: int, colour: int, **chunks: bytes) -> bytes:
    """A PNG of samples (H, W) or (H, W, C) with 1 to 16 bits each; `colour` is PNG's colour type."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = rows.shape[:2]
    flat = rows.reshape(height, -1)
    if bits == 16:
        packed = flat.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        places = np.arange(bits)[::-1]
        packed = np.packbits((flat[..., None] >> places & 1).astype(np.uint8).reshape(height, -1), axis=1)
    content = b"".join(b"\0" + row.tobytes() for row in packed)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        + b"".join(chunk(name.encode(), data) for name, data in chunks.items())
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )


def tiff(data: bytes, size: tuple[int, int], bits: int, photometric: int) -> bytes:
    """An uncompressed grey TIFF in Intel's byte order; `photometric` 0 where white is zero."""
    width, height = size
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height, 279: len(data)}
    start = 8 + 2 + 12 * len(tags) + 4
    tags[273] = start
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data


def twelve_bits(values: NDArray[np.integer]) -> bytes:
    """Samples (H, W), W even, packed in twelve bits each."""
    first, second = values[:, 0::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2)
    return packed.astype(np.uint8).tobytes()
