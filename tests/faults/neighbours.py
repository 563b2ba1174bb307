"""Others who want what a herd has: second owners, keys that are not for it, peers that keep to nothing."""

import signal
import time

import zmq

from mustherd.wire.endpoints import MusterEndpoint, OperatorEndpoint, WireError
from mustherd.wire.gate import LOOK_EVERY_S as KEYS_LOOK_S
from mustherd.wire.keys import create, for_member
from mustherd.wire.messages import KnobsAsk, Refused
from tests.faults import stall
from tests.faults.came import REFUSED, Came, back, ended, kept, values
from tests.faults.herd import JOIN_S, ODD, Herd
from tests.faults.member import LEASE_S, MUSTERS
from tests.faults.schedule import Event
from tests.fuzz.frames import Frames
from tests.fuzz.ports import joined
from tests.typed import some


def second_life(herd: Herd, event: Event) -> Came:
    """Another muster with the same state folder: refused in a line, the first one goes on."""
    one = herd.members[event.target]
    before = values(herd)
    second = herd.spawn("second.log", "mustherd.muster", "--config", one.config)
    code = stall.ended(second, JOIN_S)
    if code is None:
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
    code = stall.ended(second, JOIN_S)
    faults = [] if code == REFUSED else [f"a second shepherd ended with {code}, not {REFUSED}"]
    if "is another shepherd running?" not in (herd.home / "second.log").read_text().splitlines()[-1]:
        faults.append("it doesn't say that the ports are taken")
    return Came(faults + kept(herd, MUSTERS, before), {})


def second_muster(herd: Herd, event: Event) -> Came:
    """Another muster, under another name and with another state folder, on the knobs of a node that has one."""
    one = herd.members[event.target]
    before = values(herd)
    home = herd.home / f"second-{event.number}"
    home.mkdir(mode=0o700)
    text = one.config.read_text().replace(f'muster = "{one.name}"', f'muster = "{ODD}"')
    (home / "muster.toml").write_text(text.replace(f'state = "{one.state}"', f'state = "{home / "state"}"'))
    second = herd.spawn("second.log", "mustherd.muster", "--config", home / "muster.toml")
    code = stall.ended(second, JOIN_S)
    if code is None:
        second.terminate()
        second.wait(JOIN_S)
        return Came([f"a second muster runs on the node of {one.name}"], {})
    faults = kept(herd, MUSTERS, before)
    if code != REFUSED:
        faults.append(f"it ended with {code}, not {REFUSED}")
    if f"held by process {some(one.process).pid}" not in (herd.home / "second.log").read_text():
        faults.append("it doesn't say who has the knobs")
    return Came(faults, {})


def key_taken_out(herd: Herd, event: Event) -> Came:
    """Its key is no longer accepted: its node is put back; when it is accepted again, it is back by itself."""
    one = herd.members[event.target]
    others = [name for name in MUSTERS if name != one.name]
    before = values(herd)
    accepted = herd.keys / "accepted" / f"{one.name}.key"
    began = time.monotonic()
    accepted.rename(herd.home / "taken-out.key")
    try:
        came = back(herd, [one.name], began, LEASE_S + KEYS_LOOK_S)
        came.faults += kept(herd, others, before)
        came.faults += herd.unasked_end(one, began)
    finally:
        (herd.home / "taken-out.key").rename(accepted)
    return came


def muster_as_operator(herd: Herd, event: Event) -> Came:
    """A muster's key at the operators' door."""
    before = values(herd)
    ask = KnobsAsk(muster=event.target, settings=())
    end = OperatorEndpoint("127.0.0.1", herd.ports.coordinate, for_member(herd.keys, ODD))
    faults = []
    try:
        answer = end.call(ask, 2.0)
        if not isinstance(answer, Refused):
            faults.append(f"it was answered: {answer}")
    except WireError:
        # Not even heard, which is what a handshake that is refused comes to.
        pass
    finally:
        end.close()
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


def clone(herd: Herd, event: Event) -> Came:
    """An image of a machine that was copied whole: the same name and key, a node and a state folder of its own.

    The one that joined last stays. The other one's node is put back, and it comes again when the clone is gone.
    """
    one = herd.members[event.target]
    others = [name for name in MUSTERS if name != one.name]
    before = values(herd)
    home = herd.home / f"clone-{event.number}"
    home.mkdir(mode=0o700)
    text = one.config.read_text().replace(f'state = "{one.state}"', f'state = "{home / "state"}"')
    (home / "muster.toml").write_text(text)
    life = one.life
    log = herd.home / f"{one.name}.log"
    before_log = len(log.read_text())
    began = time.monotonic()
    second = herd.spawn("second.log", "mustherd.muster", "--config", home / "muster.toml")
    joined_s = stall.wait(lambda: time.monotonic() - began if _life(herd, one.name) not in (0, life) else None, JOIN_S)
    if joined_s is None:
        second.kill()
        return Came(["the clone did not join"], {})
    came = back(herd, [one.name], began, joined_s + LEASE_S)
    came.faults += kept(herd, others, before)
    if not stall.wait(lambda: f"two processes call themselves {one.name}" in log.read_text()[before_log:], JOIN_S):
        came.faults.append("nobody says that there are two")
    if stall.wait(lambda: _life(herd, one.name) == life, 2.0):
        came.faults.append("the two of them take turns")
    came.faults += herd.unasked_end(one, began)
    second.terminate()
    if code := stall.ended(second, JOIN_S):
        came.faults.append(f"the clone ended with {code}")
    return Came(came.faults, {"back_s": max(0.0, came.figures["back_s"] - joined_s)})


def _life(herd: Herd, name: str) -> int:
    view = herd.views().get(name)
    return view.muster_epoch if view is not None and view.presence == "alive" else 0


def new_key(herd: Herd, event: Event) -> Came:
    """A muster gets another key: what still has the old one is nobody, and its next life has the new one."""
    one = herd.members[event.target]
    others = [name for name in MUSTERS if name != one.name]
    before = values(herd)
    made = herd.home / f"new-key-{event.number}"
    create(made, [one.name])
    began = time.monotonic()
    (made / "accepted" / f"{one.name}.key").replace(herd.keys / "accepted" / f"{one.name}.key")
    came = back(herd, [one.name], began, LEASE_S + KEYS_LOOK_S)
    came.faults += kept(herd, others, before)
    came.faults += herd.unasked_end(one, began)
    for file in (f"{one.name}.key", f"{one.name}.key_secret"):
        (made / file).replace(herd.keys / file)
    if stall.poll(some(one.process)) is None:
        told = time.monotonic()
        herd.send(one.process, signal.SIGTERM)
        came.faults += ended(herd, one, 0, told)
    return came
