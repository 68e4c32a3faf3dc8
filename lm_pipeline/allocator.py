"""How this process's allocator treats the memory that tensors and arrays give back."""

import ctypes
import platform

_M_MXFAST, _M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = 1, -1, -2, -3, -4  # malloc.h


def keep_memory() -> None:
    """Let glibc keep what tensors give back instead of returning it to the kernel.

    Else each temporary tensor of more than 128 KiB is mapped anew, and its pages are faulted in one by one: a sixth of
    the step of a small Transformer on a virtual machine. glibc lets the threshold of mapping be raised to 32 MiB only,
    and an LSTM's workspaces may be larger, so nothing is mapped at all. Small chunks join their neighbours at once:
    kept for reuse, all of them are gone through whenever a large one is freed, hundreds of times a step. Elsewhere
    than on Linux with glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MXFAST, 0)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def return_memory() -> None:
    """Let glibc return arrays of 1 MiB and more to the kernel as soon as they are freed, unless it keeps memory.

    Left alone, glibc raises the size from which on it maps to that of what was freed, up to 32 MiB. Then the arrays of
    several threads lie in arenas whose holes grow with the work done. Elsewhere than on Linux with glibc nothing
    happens.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
