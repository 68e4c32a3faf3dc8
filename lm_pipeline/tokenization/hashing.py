"""Where keys are looked for in a table of 2**n slots, one after another: for compiled kernels."""

import numba
import numpy as np

MIX = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio (Knuth, The Art of Computer Programming 6.4): what it multiplies is spread evenly."""


@numba.njit(cache=True, nogil=True)
def first_slot(key, num_slots):
    """Where to look first for a key (uint64)."""
    mixed = key * MIX
    return (mixed ^ (mixed >> np.uint64(32))) & np.uint64(num_slots - 1)


@numba.njit(cache=True, nogil=True)
def next_slot(slot, num_slots):
    """Where to look after a slot that another key has."""
    return (slot + np.uint64(1)) & np.uint64(num_slots - 1)
