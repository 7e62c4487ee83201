"""Keep freed memory instead of handing it back to the system after every step.

glibc maps large blocks afresh and trims its heap when they are freed, so a training loop faults
the same memory in again and again. Told to keep what it has, the trainer ran at 382 tokens/s
instead of 357, and at 242 instead of 223 a CPU-second (2 cores, benchmarks/train_speed.py).
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
