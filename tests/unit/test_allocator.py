"""Memory that is given back is used again."""

import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from lm_pipeline.allocator import keep_memory

if sys.argv[1] == "kept":
    keep_memory()
libc, size = ctypes.CDLL(None), 40 << 20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]

def use():
    memory = libc.malloc(size)
    libc.memset(memory, 1, size)
    libc.free(memory)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_block_that_is_larger_than_glibcs_threshold_is_not_faulted_in_anew_each_time():
    """An LSTM's workspace is one; how many pages of 40 MiB are faulted in depends on the size of a page."""
    faults = {
        way: float(subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, check=True).stdout)
        for way in ("kept", "default")
    }
    assert faults["kept"] < 10 < faults["default"]


HELD = """
import ctypes, re, sys
from pathlib import Path
from lm_pipeline.allocator import return_memory

if sys.argv[1] == "returned":
    return_memory()
libc, size = ctypes.CDLL(None), 8 << 20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]

def used(size):
    memory = libc.malloc(size)
    libc.memset(memory, 1, size)
    return memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

libc.free(used(3 * size))  # from here on glibc, left alone, maps nothing that is smaller
blocks, last = [used(size) for _ in range(20)], used(size)
before = resident()
for block in blocks:
    libc.free(block)
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_arrays_are_given_back_although_a_later_one_is_held():
    megabytes = {
        way: int(subprocess.run([sys.executable, "-c", HELD, way], capture_output=True, check=True).stdout)
        for way in ("returned", "default")
    }
    assert megabytes["default"] < 40
    assert megabytes["returned"] > 140
