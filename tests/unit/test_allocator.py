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
