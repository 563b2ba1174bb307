"""Attacks on a herd by hand, each with what has to come of it; tests.faults.experiment has those on an experiment."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from mustherd.daemon import STOP_SIGNALS
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.keys import for_member
from tests.faults.herd import FED, JOIN_S, LEASE_S, MUSTERS, ODD, SLACK_S, Herd, Member
from tests.faults.schedule import Event, Kind
from tests.fuzz.frames import Frames
from tests.fuzz.ports import joined
from tests.typed import some
from tests.waiting import until

CAUGHT = tuple(signal.Signals(number).name for number in STOP_SIGNALS if number < signal.SIGRTMIN)
CLEAN = ("SIGTERM", "SIGINT")
UNGUARDED, REFUSED = 4, 3
AT_ONCE_S = 1.0
"""How soon a guardian that sees its muster gone has put the node back."""


@dataclass
class Came:
    """What came of an attack: sentences about what was not as promised, and figures."""

    faults: list[str]
    figures: dict[str, float]


Act = Callable[[Herd, Event], Came]


@dataclass(frozen=True)
class Attack:
    """One kind of attack."""

    kind: Kind
    expected: str
    act: Act
    as_root: bool = False
    """It needs disks of its own, which only root can mount."""


def back(herd: Herd, names: Sequence[str], since: float, within_s: float) -> Came:
    """Nodes are as they were found within so many seconds of `since`."""
    faults: list[str] = []
    latest = 0.0
    for name in names:
        with contextlib.suppress(AssertionError):
            until(lambda name=name: herd.members[name].value() == herd.members[name].original, within_s + 3 * SLACK_S)  # type: ignore[misc]
        # The watch looks every so often.
        time.sleep(0.05)  # fixed: as long as some of its looks
        took = herd.seen(name).back_since(since)
        if took is None:
            faults.append(f"{name} is still at {herd.members[name].value()}")
        elif took > within_s + SLACK_S:
            faults.append(f"{name} was put back after {took:.1f} s, not within {within_s:g} s")
        latest = max(latest, took or 0.0)
    return Came(faults, {"back_s": latest})


def kept(herd: Herd, names: Sequence[str], values: dict[str, int | None]) -> list[str]:
    """Nodes are as a decision left them."""
    return [
        f"{name} went from {values[name]} to {herd.members[name].value()}, for nothing"
        for name in names
        if herd.members[name].value() != values[name]
    ]


def values(herd: Herd) -> dict[str, int | None]:
    return {name: one.value() for name, one in herd.members.items()}


def ended(one: Member, code: int) -> list[str]:
    """A muster has ended, with that exit code, and nothing is left to be put back."""
    try:
        found = some(one.process).wait(JOIN_S)
    except subprocess.TimeoutExpired:
        return [f"{one.name} has not ended after {JOIN_S:g} s"]
    return [] if found == code else [f"{one.name} ended with {found}, not {code}"]


# --- what is killed ---


def kill_muster(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    herd.find_guardian(one)
    began = time.monotonic()
    herd.send(one.process, signal.SIGKILL)
    came = back(herd, [one.name], began, AT_ONCE_S)
    came.faults += ended(one, -signal.SIGKILL)
    with contextlib.suppress(AssertionError):
        until(lambda: not one.journal())
    return Came(came.faults + ([f"its journal holds {one.journal()}"] if one.journal() else []), came.figures)


def kill_both(herd: Herd, event: Event) -> Came:
    """As the end of a control group: then the unit's last command puts the node back."""
    one = herd.members[event.target]
    guardian = herd.find_guardian(one)
    herd.send(one.process, signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)
    herd.send(one.process, signal.SIGKILL)
    faults = ended(one, -signal.SIGKILL)
    began = time.monotonic()
    restore = herd.spawn(f"{one.name}.log", "mustherd.muster", "--config", one.config, "--restore")
    if code := restore.wait(JOIN_S):
        faults.append(f"its restore ended with {code}")
    came = back(herd, [one.name], began, JOIN_S)
    return Came(faults + came.faults, came.figures)


def kill_guardian(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    began = time.monotonic()
    os.kill(herd.find_guardian(one), signal.SIGKILL)
    faults = ended(one, UNGUARDED)
    came = back(herd, [one.name], began, 2.0)
    return Came(faults + came.faults, came.figures)


def signal_muster(herd: Herd, event: Event) -> Came:
    one = herd.members[event.target]
    number = signal.Signals[event.way]
    began = time.monotonic()
    herd.send(one.process, number)
    faults = ended(one, 0 if event.way in CLEAN else 128 + number)
    came = back(herd, [one.name], began, 2.0)
    if one.journal():
        faults.append(f"its journal holds {one.journal()}")
    return Came(faults + came.faults, came.figures)


def kill_shepherd(herd: Herd, event: Event) -> Came:
    began = time.monotonic()
    herd.send(herd.process, signal.SIGKILL)
    some(herd.process).wait(JOIN_S)
    return back(herd, MUSTERS, began, LEASE_S)


def signal_shepherd(herd: Herd, event: Event) -> Came:
    number = signal.Signals[event.way]
    began = time.monotonic()
    herd.send(herd.process, number)
    try:
        code = some(herd.process).wait(JOIN_S)
    except subprocess.TimeoutExpired:
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
        until(lambda: herd.alive(*MUSTERS), JOIN_S)
        others = [name for name in MUSTERS if name != one.name]
        return Came(kept(herd, others, before), {})
    came = back(herd, [one.name], began, LEASE_S)
    return Came(came.faults + ended(one, -signal.SIGKILL), came.figures)


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


def step_clock(herd: Herd, event: Event) -> Came:
    before = values(herd)
    herd.clock.write_text(event.way)
    time.sleep(event.seconds)
    faults = kept(herd, MUSTERS, before)
    if not herd.alive(*MUSTERS):
        faults.append("a muster was missed")
    return Came(faults, {})


# --- disks ---


def full_logs(herd: Herd, event: Event) -> Came:
    before = values(herd)
    herd.disks["logs"].fill()
    time.sleep(event.seconds)
    faults = kept(herd, MUSTERS, before)
    if not herd.alive(*MUSTERS):
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
    stood_still = some(one.process).poll() == -signal.SIGKILL
    came = back(herd, [one.name], began, LEASE_S) if stood_still else Came([], {})
    came.faults += kept(herd, others, before)
    return came


# --- others ---


def second_life(herd: Herd, event: Event) -> Came:
    """Another muster with the same state folder: refused in a line, the first one goes on."""
    one = herd.members[event.target]
    before = values(herd)
    second = herd.spawn("second.log", "mustherd.muster", "--config", one.config)
    try:
        code = second.wait(JOIN_S)
    except subprocess.TimeoutExpired:
        second.kill()
        return Came([f"a second {one.name} runs beside the first"], {})
    faults = kept(herd, MUSTERS, before)
    if code != REFUSED:
        faults.append(f"the second {one.name} ended with {code}, not {REFUSED}")
    said = (herd.home / "second.log").read_text().splitlines()[-1]
    if f"process {some(one.process).pid}" not in said and f"process {one.guardian}" not in said:
        faults.append(f"it doesn't say who has the folder: {said}")
    return Came(faults, {})


def second_shepherd(herd: Herd, event: Event) -> Came:
    before = values(herd)
    p = herd.ports
    ports = f"{p.pulse},{p.log},{p.control},{p.coordinate}"
    second = herd.spawn("second.log", "mustherd", "shepherd", "run", "--ports", ports, "--keys", herd.keys)
    code = second.wait(JOIN_S)
    faults = [] if code == REFUSED else [f"a second shepherd ended with {code}, not {REFUSED}"]
    if "is another shepherd running?" not in (herd.home / "second.log").read_text().splitlines()[-1]:
        faults.append("it doesn't say that the ports are taken")
    return Came(faults + kept(herd, MUSTERS, before), {})


def odd_peer(herd: Herd, event: Event) -> Came:
    """A muster of its own that the shepherd accepts, and whatever can be made of its protocol, on one of the ports."""
    before = values(herd)
    made = Frames(event.number)
    end = MusterEndpoint(ODD, "127.0.0.1", herd.ports, for_member(herd.keys, ODD))
    sent = 0
    try:
        made.epochs = joined(end, ODD)
        peer = end._pulse if event.way == "pulse" else end._log
        over = time.monotonic() + event.seconds
        while time.monotonic() < over:
            try:
                peer.send_multipart(made.frames(event.way), zmq.DONTWAIT)
                sent += 1
            except zmq.Again:
                time.sleep(0.01)
            while peer.poll(0):
                peer.recv_multipart()
    finally:
        end.close()
    faults = kept(herd, MUSTERS, before)
    if some(herd.process).poll() is not None:
        faults.append(f"the shepherd ended with {some(herd.process).poll()}")
    return Came(faults, {"frames": float(sent)})


ATTACKS = (
    Attack(
        Kind("kill a muster", MUSTERS),
        "its guardian puts the node back at once; its next life reads on, no row lost or doubled",
        kill_muster,
    ),
    Attack(
        Kind("kill a muster and its guardian", MUSTERS),
        "the unit's last command puts the node back; nothing is left in the journal",
        kill_both,
    ),
    Attack(Kind("kill a guardian", MUSTERS), "its muster puts the node back and ends with exit code 4", kill_guardian),
    Attack(
        Kind("signal a muster", MUSTERS, ways=CAUGHT),
        "it puts the node back; exit code 0 for TERM and INT, 128 and the signal's number else",
        signal_muster,
    ),
    Attack(Kind("kill the shepherd"), "every node is put back within the lease", kill_shepherd),
    Attack(
        Kind("signal the shepherd", ways=[name for name in CAUGHT if name != "SIGHUP"]),
        "it ends in order, every node is put back; exit code as a muster's",
        signal_shepherd,
    ),
    Attack(
        Kind("pause a muster", MUSTERS, (0.5, 6.0)),
        "within the lease nothing; beyond it the guardian ends it and puts the node back within the lease",
        pause_muster,
    ),
    Attack(
        Kind("pause the shepherd", seconds=(0.5, 6.0)),
        "within the lease nothing; beyond it every node is put back within the lease",
        pause_shepherd,
    ),
    Attack(
        Kind("cut the network", (*MUSTERS, "all"), (0.5, 8.0), ("both", "up", "down")),
        "who hears no beats puts its node back within the lease; the others keep theirs; nothing late is acted on",
        cut,
    ),
    Attack(
        Kind("set the wall clock", seconds=(1.0, 3.0), ways=("3600", "-3600", "-86400", "1e7", "0")),
        "nothing changes",
        step_clock,
    ),
    Attack(
        Kind("fill the disk of the logs", seconds=(2.0, 6.0)),
        "knobs stay; rows wait at their musters and come when there is room",
        full_logs,
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of the logs", seconds=(2.0, 6.0), ways=("hangs", "crawls")),
        "knobs stay; rows come when it goes on",
        hanging_logs,
        as_root=True,
    ),
    Attack(
        Kind("fill the disk of a spool", seconds=(2.0, 6.0)),
        "knobs stay; rows wait in their source",
        full_spool,
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of a spool", seconds=(2.0, 5.0), ways=("hangs", "crawls")),
        "where its muster stands still on it, the guardian ends it and puts the node back within the lease",
        hanging_spool,
        as_root=True,
    ),
    Attack(
        Kind("start a muster twice", MUSTERS), "the second ends with exit code 3 and says who is there", second_life
    ),
    Attack(
        Kind("start a second shepherd"), "it ends with exit code 3 and says that the ports are taken", second_shepherd
    ),
    Attack(
        Kind("send mutated frames", ("",), (1.0, 3.0), ("pulse", "log")),
        "no knob changes, nobody ends, every honest muster goes on",
        odd_peer,
    ),
)
