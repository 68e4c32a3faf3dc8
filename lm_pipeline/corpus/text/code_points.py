"""Characters of UTF-8, for compiled kernels."""

import numba
import numpy as np


@numba.njit(cache=True)
def decode(data, at):
    """The code point that begins at byte `at` of valid UTF-8, and where the next one begins."""
    byte = np.uint32(data[at])
    if byte < 0x80:
        return byte, at + 1
    if byte < 0xE0:
        return ((byte & 0x1F) << 6) | (data[at + 1] & 0x3F), at + 2
    if byte < 0xF0:
        return ((byte & 0x0F) << 12) | ((data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F), at + 3
    tail = ((data[at + 1] & 0x3F) << 12) | ((data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F)
    return ((byte & 0x07) << 18) | tail, at + 4
