"""Processes that are killed, signalled, stopped or cut off, clocks that step, disks that fill or hang."""

import os
import signal
import time

import psutil

from mustherd.daemon import STOP_SIGNALS
from mustherd.muster.guardian import STILL_S
from mustherd.muster.rounds import ROUND_MOST_S
from tests.faults import stall
from tests.faults.came import UNGUARDED, Came, back, ended, kept, values
from tests.faults.herd import ELSEWHERE, JOIN_S, Herd
from tests.faults.member import FED, LEASE_S, MUSTERS
from tests.faults.network import Cable
from tests.faults.schedule import Event
from tests.typed import some

CAUGHT = tuple(signal.Signals(number).name for number in STOP_SIGNALS if number < signal.SIGRTMIN)
CLEAN = ("SIGTERM", "SIGINT")
AT_ONCE_S = 1.0
"""How soon a guardian that sees its muster gone has put the node back."""


# --- what is killed ---


def kill_muster(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    herd.find_guardian(one)
    began = time.monotonic()
    herd.send(one.process, signal.SIGKILL)
    came = back(herd, [one.name], began, AT_ONCE_S)
    came.faults += ended(herd, one, -signal.SIGKILL, began)
    stall.wait(lambda: not one.journal(), JOIN_S)
    return Came(came.faults + ([f"its journal holds {one.journal()}"] if one.journal() else []), came.figures)


def kill_both(herd: Herd, event: Event) -> Came:
    """As the end of a control group: then the unit's last command puts the node back."""
    one = herd.members[event.target]
    guardian = herd.find_guardian(one)
    killed = time.monotonic()
    herd.send(one.process, signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)
    herd.send(one.process, signal.SIGKILL)
    faults = ended(herd, one, -signal.SIGKILL, killed)
    began = time.monotonic()
    restore = herd.spawn(f"{one.name}.log", "mustherd.muster", "--config", one.config, "--restore")
    if code := stall.ended(restore, JOIN_S):
        faults.append(f"its restore ended with {code}")
    came = back(herd, [one.name], began, JOIN_S)
    return Came(faults + came.faults, came.figures)


def kill_guardian(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    began = time.monotonic()
    os.kill(herd.find_guardian(one), signal.SIGKILL)
    faults = ended(herd, one, UNGUARDED, began)
    came = back(herd, [one.name], began, 2.0)
    return Came(faults + came.faults, came.figures)


def signal_muster(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    number = signal.Signals[event.way]
    began = time.monotonic()
    herd.send(one.process, number)
    faults = ended(herd, one, 0 if event.way in CLEAN else 128 + number, began)
    came = back(herd, [one.name], began, 2.0)
    if one.journal():
        faults.append(f"its journal holds {one.journal()}")
    return Came(faults + came.faults, came.figures)


def kill_shepherd(herd: Herd, event: Event) -> Came:
    began = time.monotonic()
    herd.send(herd.process, signal.SIGKILL)
    stall.ended(some(herd.process), JOIN_S)
    return back(herd, MUSTERS, began, LEASE_S)


def signal_shepherd(herd: Herd, event: Event) -> Came:
    number = signal.Signals[event.way]
    began = time.monotonic()
    herd.send(herd.process, number)
    code = stall.ended(some(herd.process), JOIN_S)
    if code is None:
        return Came([f"the shepherd has not ended after {JOIN_S:g} s"], {})
    expected = 0 if event.way in CLEAN else 128 + number
    faults = [] if code == expected else [f"the shepherd ended with {code}, not {expected}"]
    came = back(herd, MUSTERS, began, LEASE_S)
    return Came(faults + came.faults, came.figures)


# --- what stands still ---


def pause_muster(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    before = values(herd)
    began = time.monotonic()
    herd.send(one.process, signal.SIGSTOP)
    if event.seconds < LEASE_S:
        time.sleep(event.seconds)
        herd.send(one.process, signal.SIGCONT)
        stall.wait(lambda: herd.alive(*MUSTERS), JOIN_S)
        others = [name for name in MUSTERS if name != one.name]
        return Came(kept(herd, others, before), {})
    came = back(herd, [one.name], began, LEASE_S)
    return Came(came.faults + ended(herd, one, -signal.SIGKILL, began), came.figures)


def pause_guardian(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    before = values(herd)
    guardian = herd.find_guardian(one)
    began = time.monotonic()
    os.kill(guardian, signal.SIGSTOP)
    if event.seconds < STILL_S / 2:
        time.sleep(event.seconds)
        os.kill(guardian, signal.SIGCONT)
        return Came(kept(herd, MUSTERS, before), {})
    faults = ended(herd, one, UNGUARDED, began)
    came = back(herd, [one.name], began, STILL_S + 2 * ROUND_MOST_S)
    if not stall.wait(lambda: not psutil.pid_exists(guardian), JOIN_S):
        came.faults.append("its guardian is still there")
    return Came(faults + came.faults, came.figures)


def pause_shepherd(herd: Herd, event: Event) -> Came:
    began = time.monotonic()
    herd.send(herd.process, signal.SIGSTOP)
    came = Came([], {})
    if event.seconds < LEASE_S:
        time.sleep(event.seconds)
    else:
        came = back(herd, MUSTERS, began, LEASE_S)
    herd.send(herd.process, signal.SIGCONT)
    return came


def cut(herd: Herd, event: Event) -> Came:
    """A network that lets nothing through, one way or both; what was sent into it comes late."""
    names = MUSTERS if event.target == "all" else [event.target]
    before = values(herd)
    began = time.monotonic()
    for name in names:
        herd.members[name].wire.cut_off(up=event.way in ("both", "up"), down=event.way in ("both", "down"))
    came = Came([], {})
    if event.seconds < LEASE_S or event.way == "up":
        # The shepherd's beats are what a lease is about: they come, or they come again soon enough.
        time.sleep(event.seconds)
    else:
        came = back(herd, names, began, LEASE_S)
    others = [name for name in MUSTERS if name not in names]
    came.faults += kept(herd, others, before)
    for name in names:
        herd.members[name].wire.heal()
    return came


def unplug(herd: Herd, event: Event) -> Came:
    """The same to a machine with a network of its own, where what is sent into a cut is lost."""
    one = herd.members[ELSEWHERE]
    others = [name for name in MUSTERS if name != ELSEWHERE]
    before = values(herd)
    assert isinstance(one.wire, Cable)
    began = time.monotonic()
    if event.way == "unplugged":
        one.wire.pull()
    else:
        one.wire.cut_off(up=event.way in ("both", "up"), down=event.way in ("both", "down"))
    came = Came([], {})
    if event.seconds < LEASE_S or event.way == "up":
        # Without any answer TCP sends nothing new after a while: whether beats still come is the kernel's to say.
        time.sleep(event.seconds)
    else:
        came = back(herd, [ELSEWHERE], began, LEASE_S)
        time.sleep(max(0.0, event.seconds - (time.monotonic() - began)))
    came.faults += kept(herd, others, before)
    one.wire.heal()
    return came


def step_clock(herd: Herd, event: Event) -> Came:
    before = values(herd)
    herd.clock.write_text(event.way)
    time.sleep(event.seconds)
    faults = kept(herd, MUSTERS, before)
    if not stall.wait(lambda: herd.alive(*MUSTERS), 1.0):
        faults.append("a muster was missed")
    return Came(faults, {})


# --- disks ---


def full_logs(herd: Herd, event: Event) -> Came:
    before = values(herd)
    herd.disks["logs"].fill()
    time.sleep(event.seconds)
    faults = kept(herd, MUSTERS, before)
    if not stall.wait(lambda: herd.alive(*MUSTERS), 1.0):
        faults.append("a muster was missed")
    herd.disks["logs"].empty()
    return Came(faults, {})


def hanging_logs(herd: Herd, event: Event) -> Came:
    before = values(herd)
    if event.way == "hangs":
        herd.disks["logs"].hang(event.seconds)
    else:
        herd.disks["logs"].crawl(event.seconds)
    return Came(kept(herd, MUSTERS, before), {})


def full_spool(herd: Herd, event: Event) -> Came:
    before = values(herd)
    herd.disks["spool"].fill()
    time.sleep(event.seconds)
    faults = kept(herd, MUSTERS, before)
    herd.disks["spool"].empty()
    return Came(faults, {})


def broken_logs(herd: Herd, event: Event) -> Came:
    """It gives errors, until whoever uses it has ended and it is mounted again."""
    before = values(herd)
    herd.disks["logs"].break_()
    time.sleep(event.seconds)
    faults = kept(herd, MUSTERS, before)
    began = time.monotonic()
    herd.send(herd.process, signal.SIGTERM)
    if code := stall.ended(some(herd.process), JOIN_S):
        faults.append(f"the shepherd ended with {code}")
    came = back(herd, MUSTERS, began, LEASE_S)
    herd.disks["logs"].mend()
    return Came(faults + came.faults, came.figures)


def broken_spool(herd: Herd, event: Event) -> Came:
    """The same under a muster's rows: where it touches what is gone, the kernel ends it and its guardian acts."""
    one = herd.members[FED[-1]]
    before = values(herd)
    others = [name for name in MUSTERS if name != one.name]
    guardian = herd.find_guardian(one)
    began = time.monotonic()
    herd.disks["spool"].break_()
    time.sleep(event.seconds)
    faults = kept(herd, others, before)
    if stall.poll(some(one.process)) is None:
        faults += kept(herd, [one.name], before)
        began = time.monotonic()
        herd.send(one.process, signal.SIGTERM)
        faults += ended(herd, one, 0, began)
        came = back(herd, [one.name], began, 2.0)
    else:
        faults += ended(herd, one, -signal.SIGBUS, began)
        came = back(herd, [one.name], began, event.seconds)
    stall.wait(lambda: not psutil.pid_exists(guardian), JOIN_S)
    herd.disks["spool"].mend()
    return Came(faults + came.faults, came.figures)


def hanging_spool(herd: Herd, event: Event) -> Came:
    """The muster stands still on it, beyond its lease; on another day it only takes long."""
    one = herd.members[FED[-1]]
    before = values(herd)
    others = [name for name in MUSTERS if name != one.name]
    if event.way == "crawls":
        herd.disks["spool"].crawl(event.seconds)
        return Came(kept(herd, others, before), {})
    began = time.monotonic()
    herd.disks["spool"].hang(LEASE_S + 4)
    came = Came([], {})
    if one.value() == one.original:
        # It stood still: what was ended while its disk hung is gone once the disk goes on.
        came = back(herd, [one.name], began, LEASE_S)
        came.faults += ended(herd, one, -signal.SIGKILL, began)
    came.faults += kept(herd, others, before)
    return came
