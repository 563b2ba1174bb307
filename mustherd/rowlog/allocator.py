"""How a shepherd's process keeps its memory: pages that a batch of log rows has had serve the next one.

Allocators give large pieces back to the kernel at once, which then clears new pages for the next batch: measured at
0.2 of 1.1 CPU seconds a million rows. What is kept is bounded by what may be under way (mustherd.shepherd.session).
"""

import contextlib
import ctypes

import pyarrow as pa

# malloc.h of the GNU C library
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_THRESHOLD_MAX = 32 * 1024 * 1024
TRIM_BYTES = 1024 * 1024 * 1024


def keep_pages() -> None:
    """For this process, once, before threads start; nothing where the C library is another."""
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        pa.set_memory_pool(pa.system_memory_pool())
