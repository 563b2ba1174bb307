"""How fast the time stamp counter ticks, as the kernel calibrated it."""

import ctypes
import mmap
import os
import platform
import struct

from mustherd.node.linux.tree import Tree, TreeError

# linux/perf_event.h
_SYSCALL = {"x86_64": 298}
_SOFTWARE, _DUMMY, _ATTR_SIZE = 1, 9, 64
_FLAGS = 1 << 5 | 1 << 6
"""exclude_kernel, exclude_hv: what an unprivileged process may ask for."""
_CAPABILITIES, _SHIFT, _MULT = 40, 50, 52
_USER_TIME = 1 << 3


def khz(tree: Tree) -> int | None:
    """kHz, or None where the kernel doesn't tell. Never raises."""
    try:
        return tree.number("sys/devices/system/cpu/cpu0/tsc_freq_khz", 10**8)
    except TreeError:
        pass
    return from_perf() if tree.is_this_machine else None


def from_perf() -> int | None:
    """From the page that the kernel shows to every user of a perf event, which turns TSC ticks into nanoseconds."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        return None
    attributes = ctypes.create_string_buffer(
        struct.pack("=IIQQQQQ", _SOFTWARE, _ATTR_SIZE, _DUMMY, 0, 0, 0, _FLAGS), 64
    )
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(number, attributes, 0, -1, -1, 0)
    if descriptor < 0:
        return None
    try:
        with mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ) as page:
            return parse_page(page[:64])
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def parse_page(page: bytes) -> int | None:
    """kHz from the first 64 bytes of a struct perf_event_mmap_page: ns = ticks * mult >> shift."""
    if len(page) < 64:
        return None
    capabilities = int.from_bytes(page[_CAPABILITIES : _CAPABILITIES + 8], "little")
    shift = int.from_bytes(page[_SHIFT : _SHIFT + 2], "little")
    mult = int.from_bytes(page[_MULT : _MULT + 4], "little")
    if not capabilities & _USER_TIME or not mult or shift > 63:
        return None
    return round((1_000_000 << shift) / mult)
