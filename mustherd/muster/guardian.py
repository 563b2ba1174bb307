"""The guardian: a process beside the muster that puts the node back when the muster no longer can.

A muster puts its node back by itself whenever it still runs. What it can't survive (SIGKILL, a fault in a library, a
file of the spool that shrinks under it) and what it can't get out of (a disk that hangs under it) ends with the
guardian. It holds the node's knobs and their originals in memory; when the muster is gone, or has not come round its
loop for as long as a decision may hold, it ends it for good and writes the originals back before it touches a disk.

Otherwise it sleeps. It shares the muster's memory as a forked child does, hears no signal that it could ignore, and
holds the lock of the state folder with the muster, so that no next life begins before it is done. The muster looks
after it in turn: without a guardian, or with one that stands still, it does not go on, and none outlives it idle.
"""

import contextlib
import logging
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from mmap import mmap

import msgspec

from mustherd.daemon import STOP_SIGNALS
from mustherd.muster.claims import MOST_BYTES, Kept
from mustherd.muster.journal import Journal, JournalError, PutBack
from mustherd.muster.originals import Original
from mustherd.muster.pasture import put_all_back, put_one_back
from mustherd.node.knob import Knob
from mustherd.node.server.tree import cpu_seconds
from mustherd.terms import Reading

log = logging.getLogger(__name__)

PERIOD_S = 0.2
"""Between two looks at the muster, while there is something to put back."""

REST_S = 2.0
"""The same while there is nothing: the muster wakes its guardian before it changes the node."""

OVERSLEPT_S = 0.5
"""A guardian that slept as long was held up itself, with the whole machine say."""

STILL_S = 10.0
"""A guardian that has not looked for so long, while its muster came round, is none: somebody has stopped it, say."""

ROUND_LATE_S = 2.0
"""A muster that came round as late was held up itself, with the whole machine say; rounds are a second apart."""

KILLED_S = 0.2
"""How long a muster that was killed may take to go; one whose disk hangs stays, and never runs again."""

ROOM_BYTES = MOST_BYTES
"""For originals, as the journal has it; memory is taken as it is written."""

_DISMISSED_AT, _SLOT_AT, _RUNS_AT, _HEAD_BYTES = 16, 17, 20, 24
"""After the times at which muster and guardian came round: whether it has dismissed the guardian, which of two slots
counts, and the group of the program that the muster runs, 0 for none."""
_SIZE = struct.Struct("=Q")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Original, ...])


class Shared:
    """What muster and guardian have in common: memory that outlives either of them, and the disk."""

    def __init__(self) -> None:
        self._memory = mmap(-1, _HEAD_BYTES + 2 * ROOM_BYTES)
        # Written and read in one go: struct would write zeros first, and a guardian that read those, a moment later,
        # took its muster for one that had stood still since the machine started.
        self._came_round = memoryview(self._memory)[:16].cast("d")
        self._runs = memoryview(self._memory)[_RUNS_AT:_HEAD_BYTES].cast("I")

    def looked(self, now: float) -> None:
        """The guardian has looked at the muster."""
        self._came_round[1] = now

    def alive(self, now: float) -> None:
        """The muster has come round its loop."""
        self._came_round[0] = now

    def dismiss(self) -> None:
        """The muster has put back what it could and ends."""
        self._memory[_DISMISSED_AT] = True

    def keep(self, originals: Mapping[tuple[str, str], Kept]) -> None:
        """What has to be put back from now on. Raises ValueError for what doesn't fit."""
        content = _encoder.encode([Original.of(key, kept) for key, kept in originals.items()]) if originals else b""
        if len(content) > ROOM_BYTES - _SIZE.size:
            raise ValueError(f"{len(originals)} originals do not fit into {ROOM_BYTES} bytes")
        slot = 1 - self._memory[_SLOT_AT]
        start = _HEAD_BYTES + slot * ROOM_BYTES
        _SIZE.pack_into(self._memory, start, len(content))
        self._memory[start + _SIZE.size : start + _SIZE.size + len(content)] = content
        # In one store, last: a muster that is killed before it leaves what was there.
        self._memory[_SLOT_AT] = slot

    def runs(self, group: int) -> None:
        """The muster runs a knob's program, which is this group of processes; 0: none any more."""
        self._runs[0] = group

    def end_program(self) -> None:
        """Kill what the muster ran when it was killed: what it was to set it would set after all was put back."""
        if group := self._runs[0]:
            until = time.monotonic() + KILLED_S
            with contextlib.suppress(OSError):  # it ended by itself meanwhile, or is another user's
                os.killpg(group, signal.SIGKILL)
                # One in the middle of a long system call still finishes that.
                while time.monotonic() < until:
                    os.killpg(group, 0)
                    time.sleep(0.01)

    @property
    def came_round(self) -> float:
        """When the muster last did, on the monotonic clock."""
        return self._came_round[0]

    @property
    def looked_at(self) -> float:
        """When the guardian last looked, on the monotonic clock."""
        return self._came_round[1]

    @property
    def dismissed(self) -> bool:
        """Whether the muster needs no guardian any more."""
        return bool(self._memory[_DISMISSED_AT])

    @property
    def holds(self) -> bool:
        """Whether something has to be put back."""
        return bool(_SIZE.unpack_from(self._memory, self._slot())[0])

    def originals(self) -> dict[tuple[str, str], Kept]:
        """What has to be put back."""
        start = self._slot()
        size = _SIZE.unpack_from(self._memory, start)[0]
        kept = _decoder.decode(self._memory[start + _SIZE.size : start + _SIZE.size + size]) if size else ()
        return {(original.sheep, original.knob): original.kept for original in kept}

    def _slot(self) -> int:
        return _HEAD_BYTES + self._memory[_SLOT_AT] * ROOM_BYTES


class Guardian:
    """The muster's side: `start` it before there is another thread, say `alive` in each round, `dismiss` it at the end.

    Whatever has to be put back goes through the journal, which tells the guardian before anything is written.
    """

    def __init__(self, knobs: Sequence[Knob], journal: Journal, lease_s: float, *, close: Callable[[], None]) -> None:
        """`close` ends what the node holds, load and server, once its knobs are back."""
        self._shared = Shared()
        self._call = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._knobs = {(knob.info.sheep, knob.info.name): knob for knob in knobs}
        self._journal = journal
        self._patience_s = lease_s - PERIOD_S
        self._close = close
        self._pid = 0
        self._muster = os.getpid()
        self._came_round = self._still_since = self._looked = 0.0
        """When the muster came round, since when the guardian has not looked, and when it last did."""
        self._ended = False

    @property
    def pid(self) -> int:
        """The guardian's process; 0 before `start`."""
        return self._pid

    def cpu_s(self) -> float:
        """User and system time that the guardian's process has taken, in steps of a tick."""
        return cpu_seconds([self._pid]) if self._pid else 0.0

    def start(self) -> None:
        """Fork it. OSError where the machine has no room for a process."""
        self._came_round = self._still_since = time.monotonic()
        self._shared.alive(self._came_round)
        self._shared.keep(self._journal.originals())
        # Here, since a muster that is killed before its guardian has begun could not be opened any more.
        muster = os.pidfd_open(self._muster)
        # What is sent to it before it has come to ignore it would end it.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            with self._journal.shared_with_child():
                pid = os.fork()
            if not pid:
                for number in STOP_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        if pid:
            os.close(muster)
            self._pid = pid
            self._journal.tell = self._keep
            return
        code = 1
        try:
            self._guard(muster)
            code = 0
        except BaseException:
            log.exception("the guardian broke")
        finally:
            # Not the way out of the muster whose copy this is.
            os._exit(code)

    def _keep(self, originals: Mapping[tuple[str, str], Kept]) -> None:
        self._shared.keep(originals)
        if originals:
            os.eventfd_write(self._call, 1)

    def alive(self) -> None:
        """The muster has come round its loop, or one knob further."""
        self._shared.alive(time.monotonic())

    def runs(self, group: int) -> None:
        """A knob's program runs, as this group of processes; 0: none any more."""
        self._shared.runs(group)

    def gone(self) -> bool:
        """Whether the guardian has ended, which it never does by itself while its muster lives."""
        if not self._pid:
            return False
        if self._ended:
            return True
        try:
            self._ended = os.waitpid(self._pid, os.WNOHANG) != (0, 0)
        except ChildProcessError:
            self._ended = True
        return self._ended

    def stands_still(self, now: float) -> float:
        """For how many seconds it has not looked, where that is STILL_S or more; else 0. Asked in each round."""
        late, self._came_round = now - self._came_round > ROUND_LATE_S, now
        if (looked := self._shared.looked_at) != self._looked or late:
            self._looked, self._still_since = looked, now
        silent = now - self._still_since
        return silent if self._pid and silent >= STILL_S else 0.0

    def end(self) -> None:
        """Kill it: what stands still would hold the locks of the node and hinder the next life, for ever."""
        if self._pid and not self.gone():
            # Our child that nobody has waited for: the number is no other process's.
            os.kill(self._pid, signal.SIGKILL)
            self._ended = True

    def let_go(self) -> None:
        """What could be put back is, and another process may soon have the locks: this one writes nothing any more. A
        muster that is killed before it has closed its node still has it closed."""
        self._shared.dismiss()

    def dismiss(self) -> None:
        """The muster ends, its node put back and closed: nothing is left to do for whoever watched over it."""
        self._shared.dismiss()
        self.end()

    # --- the guardian's own process ---

    def _guard(self, muster: int) -> None:
        """Until the muster, a pidfd, needs it no more."""
        os.setsid()
        if os.getppid() != self._muster and not self._shared.dismissed:
            # It died while it forked, and the number may be another process's by now.
            self._put_back("its muster was killed")
            return
        waiting = select.poll()
        waiting.register(muster, select.POLLIN)
        waiting.register(self._call, select.POLLIN)
        looked = time.monotonic()
        while True:
            period_s = PERIOD_S if self._shared.holds else REST_S
            woken = {fd for fd, _ in waiting.poll(int(period_s * 1000))}
            if self._call in woken:
                os.eventfd_read(self._call)
            ended = muster in woken
            now = time.monotonic()
            self._shared.looked(now)
            if self._shared.dismissed:
                if ended:
                    self._close()
                    return
                continue
            if ended:
                self._put_back("its muster was killed")
                return
            # After a standstill of its own it lets the muster come round first.
            slept, looked = now - looked, now
            silent = now - self._shared.came_round
            if slept < OVERSLEPT_S and silent > self._patience_s and self._shared.holds:
                signal.pidfd_send_signal(muster, signal.SIGKILL)
                waiting.unregister(self._call)
                waiting.poll(int(KILLED_S * 1000))
                self._put_back(f"its muster has not come round for {silent:.1f} s and was ended")
                return

    def _put_back(self, why: str) -> None:
        self._shared.end_program()
        originals = self._shared.originals()

        def put(key: tuple[str, str]) -> Reading:
            knob, value = self._knobs.get(key), originals[key]
            if not getattr(knob, "gone_with_muster", False):
                return put_one_back(knob, key, value)
            asked = value if isinstance(value, int) else None
            return Reading(sheep=key[0], knob=key[1], asked=asked, applied=None, running=None, held=True)

        readings = put_all_back(originals, self._knobs, put)
        # From here on a disk that hangs keeps nothing from being put back.
        left = [reading for reading in readings.values() if reading.error]
        if originals:
            log.warning("the guardian has put the node back as it was found: %s", why)
        for reading in left:
            log.error("NOT RESTORED: %s on %s: %s", reading.knob, reading.sheep, reading.error)
        try:
            self._journal.take_up({key: originals[key] for key, reading in readings.items() if reading.error})
            if originals:
                self._journal.leave_word(PutBack(reason=f"{why}; its guardian did", readings=tuple(readings.values())))
        except JournalError as error:
            # Where there is no lock to say it beside, the next life, or the unit's last command, writes the same values
            # once more.
            log.error("the journal doesn't know what was put back: %s", error)  # noqa: TRY400 (the message says all)
        self._close()
