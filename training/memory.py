"""Memory that a training step frees stays with the process, for the next step."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`, from its `malloc.h`."""
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc's allocator not to give freed memory back to the kernel; where there is none, do nothing.

    A step takes and frees hundreds of megabytes of activations. By default each tensor of more than 32 MB is a mapping
    of its own, whose pages the kernel must find and clear again in every step; `bench.fit_speed` measures what that
    costs. The process then keeps what it needed at most, until it ends.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
