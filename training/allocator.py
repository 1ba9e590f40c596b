"""glibc's allocator kept from giving memory back between steps."""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's numbers for them
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024  # glibc takes no more


@functools.cache
def keep_freed_memory() -> None:
    """Let the process reuse the memory of a step in the next one, where the C library is glibc.

    By default glibc returns large blocks to the system as they are freed, and each step then
    touches thousands of fresh pages: up to a third of an eager step's time.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
