"""As little power over the machine as a muster can do with, and a configuration that nobody else can widen."""

import ctypes
import os
import struct
from collections.abc import Collection
from enum import IntEnum
from pathlib import Path

from mustherd import guard
from mustherd.guard import ROOT
from mustherd.muster.config import ConfigError

# linux/prctl.h, linux/securebits.h, linux/capability.h
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 23, 24, 28, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECUREBITS = 0x2F
"""NOROOT and NO_SETUID_FIXUP, and both and KEEP_CAPS locked: being root brings no capability back."""
_CAPABILITY_VERSION_3 = 0x20080522


class Capability(IntEnum):
    """The capabilities that a muster may need (capabilities(7))."""

    DAC_OVERRIDE = 1
    """Files below /sys that only root may write, when the muster isn't root."""
    NET_ADMIN = 12
    """Interrupt moderation and rings."""
    SYS_RAWIO = 17
    """Model-specific registers."""
    PERFMON = 38
    """The CPUs' performance counters; Linux 5.8."""


SETPCAP = 8

NODE = frozenset(Capability)
"""What a muster on a real node keeps."""


class PrivilegeError(Exception):
    """A privilege could not be given up."""


def keep(wanted: Collection[Capability] = NODE) -> None:
    """Give up every capability but those wanted, for good, in this thread: call it before there is another.

    What isn't held isn't gained. Afterwards neither an exec nor being root brings anything back. Raises PrivilegeError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    mask = sum(1 << c for c in wanted)
    permitted = _permitted(libc)
    if permitted >> SETPCAP & 1:
        for capability in range(64):
            if mask >> capability & 1:
                continue
            if _prctl(libc, PR_CAPBSET_READ, capability) == 1 and _prctl(libc, PR_CAPBSET_DROP, capability) != 0:
                raise _failed("the bounding set")
        if _prctl(libc, PR_SET_SECUREBITS, SECUREBITS) != 0:
            raise _failed("root's own powers")
    _prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    left = permitted & mask
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = left & 0xFFFFFFFF, left >> 32
    if libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) != 0:
        raise _failed("capabilities")
    if _prctl(libc, PR_SET_NO_NEW_PRIVS, 1) != 0:
        raise _failed("new privileges")


def stay_on(cpus: Collection[int]) -> None:
    """Run on these CPUs alone. Raises PrivilegeError when none of them is there."""
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise PrivilegeError(f"cannot keep to CPUs {sorted(cpus)}: {error.strerror}") from None


def require_guarded(file: Path, owners: Collection[int] = (ROOT,)) -> None:
    """ConfigError unless nobody but `owners` can change `file`, by itself or by a folder or link on the way to it."""
    who = "root" if set(owners) == {ROOT} else "root or who runs this"
    why = f"the ranges of a real machine must be in a file that only {who} can change (chown root, chmod go-w)"
    try:
        guard.require(file, owners, whole=True, why=why)
    except guard.GuardError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _permitted(libc: ctypes.CDLL) -> int:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data) != 0:
        raise _failed("capabilities")
    words = struct.unpack("=6I", data.raw)
    return int(words[1] | words[4] << 32)


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> int:
    number = ctypes.c_ulong
    return int(libc.prctl(option, number(value), number(0), number(0), number(0)))


def _failed(what: str) -> PrivilegeError:
    return PrivilegeError(f"cannot give up {what}: {os.strerror(ctypes.get_errno())}")
