"""Keep freed memory: on a CPU, the largest single gain of this trainer.

glibc maps every large block afresh and hands it back when it is freed, so each step of a
training loop faults the same gigabytes in again, page by page. Told to keep what it has, one
step of the 135M model took 3.0 s instead of 10.5 (2 cores, benchmarks/train_speed.py).
"""

import ctypes
import platform

__all__ = ["keep_freed_memory"]

# Names and values from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3

KEPT_BLOCK_BYTES = 32 << 20
"""Larger blocks (a slice of logits, the gradient of an embedding) still come and go: kept, they
would leave holes that raise the peak by a gigabyte. glibc takes no larger value."""


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse large blocks; for a process that only trains.

    Returns:
        True where the allocator is glibc's and took all three settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = (
        (M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES),
        (M_TRIM_THRESHOLD, 2**31 - 1),
        (M_TOP_PAD, 64 << 20),
    )
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
