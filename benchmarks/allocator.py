"""The C library's allocator, told what a training loop is."""

from __future__ import annotations

import ctypes
import sys

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
LARGEST = (2**30, 2**25)  # what a newer and an older glibc take as the second


def keep_memory() -> None:
    """Keeps memory that is freed for what is asked for next, as every step does, instead of giving it back.

    Otherwise the system hands out, and clears, the same pages again at every step as soon as these are some
    megabytes. Does nothing where the C library is not glibc.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        _ = mallopt(MAPPED, LARGEST[0]) or mallopt(MAPPED, LARGEST[1])
        mallopt(TRIM, 2**31 - 1)
