"""Mutated frames to real processes: to a shepherd's ports as a muster that it accepts, and to a muster as its shepherd.

Beside the shepherd's fuzzed muster runs an honest one with a decision in force, which has to stay there.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import zmq

from mustherd.client import HerdClient
from mustherd.terms import Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, OperatorEndpoint, WireError, new_session
from mustherd.wire.keys import create, for_member, for_shepherd
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from tests.faults import stall
from tests.fuzz.frames import Frames
from tests.fuzz.run import Result
from tests.herding import shepherd
from tests.waiting import until
from tests.wire.test_codec import HELLO

PORTS = ("pulse", "log", "control", "coordinate")
NAMES = (*(f"a shepherd's {port}" for port in PORTS), "a muster")
MOST_RSS_MIB = 400.0
HIGH, LOW = 100, 2
LEASE_S = 3.0
CONTROL_BYTES = 1900
"""Of a frame to control: ZeroMQ ends a connection that sends a longer one, which is tried too, but now and then."""
LOG_BYTES, LOG_BYTES_PER_S = 100_000, 5000
"""What a log may hold; lines of one kind are bounded by a minute (mustherd.daemon), and there are some kinds."""
JOIN_S = 120.0
"""On a machine that has much else to do."""
ROOT = Path(__file__).parents[2]


def run(name: str, seed: int, *, seconds: float, count: int, keep: Path) -> Result:
    """Frames until the seconds or the count are over. Nothing goes to `keep`: equal seeds give equal frames."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/var/tmp") as made:
        home = Path(made)
        target = _to_a_muster if name == "a muster" else _to_a_shepherd
        return target(home, name, seed, seconds, count)


@contextmanager
def _spawned(home: Path, log: str, *arguments: str | Path) -> "Iterator[subprocess.Popen[bytes]]":
    with (home / log).open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(JOIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _muster_toml(home: Path, ports: Ports) -> Path:
    p = ports
    file = home / "muster.toml"
    file.write_text(
        f'muster = "muster-1"\nkeys = "{home / "keys"}"\nstate = "{home / "state"}"\n'
        f"[ports]\npulse = {p.pulse}\nlog = {p.log}\ncontrol = {p.control}\ncoordinate = {p.coordinate}\n"
        f"[ranges]\nitr-delay = {{values = [1], low = {LOW}, high = {HIGH}}}\n[twin]\nspeed = 50\nintlog_cores = 1\n"
    )
    return file


def _registers(home: Path) -> dict[str, int]:
    try:
        return dict(msgspec.json.decode((home / "state" / "registers.json").read_bytes()))
    except (OSError, msgspec.DecodeError):
        return {}


class Figures:
    """Memory and descriptors of a process, looked at now and then."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self._process.memory_info().rss / 2**20
        self.most = self.before
        self._descriptors = self._process.num_fds()

    def look(self) -> None:
        self.most = max(self.most, self._process.memory_info().rss / 2**20)

    def into(self, result: Result) -> None:
        """Say how much it grew, and what is too much."""
        self.look()
        result.growth_mib = round(self.most - self.before, 1)
        result.descriptors = self._process.num_fds() - self._descriptors
        if self.most > MOST_RSS_MIB:
            result.faults.append(f"{self.most:.0f} MiB of memory")


def _log_faults(log: Path, seconds: float) -> list[str]:
    text = log.read_text(errors="replace")
    told = text.partition("Traceback")[2].partition("\n20")[0]
    faults = [f"{log.name} has a traceback: {told[-500:]!r}"] if told else []
    if len(text) > LOG_BYTES + LOG_BYTES_PER_S * seconds:
        often = Counter(line.partition(" ")[2].partition(" ")[2][:60] for line in text.splitlines()).most_common(3)
        faults.append(f"{log.name} has {len(text)} bytes, most often {often}")
    return faults


def _sent(
    result: Result, seconds: float, count: int, send: Callable[[], object], look: Callable[[], object]
) -> Iterator[int]:
    """Send until it is enough; gives the number now and then."""
    over = time.monotonic() + seconds
    while time.monotonic() < over and result.inputs < count:
        try:
            send()
        except zmq.ZMQError as error:
            # Whoever it is for reads later, or was away too long and connects again.
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            time.sleep(0.002)
            continue
        result.inputs += 1
        if result.inputs % 500 == 0:
            look()
            yield result.inputs


def _to_a_shepherd(home: Path, name: str, seed: int, seconds: float, count: int) -> Result:
    port = name.rpartition(" ")[2]
    result = Result(name=name)
    began = time.monotonic()
    stall.watch()
    keys = home / "keys"
    create(keys, ["shepherd", "operator", "muster-1", "fuzz"])
    with shepherd() as (_, ports):
        pass
    words = ",".join(map(str, msgspec.structs.astuple(ports)))
    arguments = ["mustherd", "shepherd", "run", "--ports", words, "--logs", f"{home}/logs", "--keys", f"{keys}"]
    client = HerdClient(f"127.0.0.1:{ports.coordinate}", keys)
    with (
        _spawned(home, "shepherd.log", *arguments) as victim,
        _spawned(home, "muster-1.log", "mustherd.muster", "--config", _muster_toml(home, ports)),
    ):
        until(lambda: _alive(client), JOIN_S)
        client.set("muster-1", {"itr-delay": 50})
        figures = Figures(victim.pid)
        frames = Frames(seed)
        if port == "coordinate":
            operator = OperatorEndpoint("127.0.0.1", ports.coordinate, for_member(keys, "operator"))
            socket, close = operator._socket, operator.close
            # What an operator may do is not what is tried: none of its frames names the honest muster.
            frames.epochs, frames.always = {"muster": "fuzz"}, {"muster"}
        else:
            end = MusterEndpoint("fuzz", "127.0.0.1", ports, for_member(keys, "fuzz"))
            frames.epochs = joined(end, "fuzz")
            socket, close = {"pulse": end._pulse, "log": end._log, "control": end._control}[port], end.close
        socket.sndtimeo = 0
        seen: set[int] = set()

        def send() -> None:
            parts = frames.frames(port)
            if port == "control" and result.inputs % 1000:
                parts = [part[:CONTROL_BYTES] for part in parts]
            # An operator may have a shepherd make room for an experiment: it would be away for a while.
            if port != "coordinate" or not _stops(parts[0]):
                socket.send_multipart(parts, zmq.DONTWAIT)

        try:
            for _ in _sent(result, seconds, count, send, figures.look):
                if (value := _registers(home).get("itr-delay", 50)) != 50:
                    # The lease was lost. Where the machine had no time for it that is no fault.
                    lost_s = stall.worst_s(time.monotonic() - 3 * LEASE_S, LEASE_S)
                    if lost_s < LEASE_S / 2:
                        seen.add(value)
                    client.set("muster-1", {"itr-delay": 50})
                while socket.poll(0):
                    socket.recv_multipart()
                if victim.poll() is not None:
                    break
        finally:
            close()
        if victim.poll() is not None:
            result.faults.append(f"the shepherd ended with {victim.poll()}")
            return result
        if seen:
            result.faults.append(f"the honest muster was at {seen}, and the machine had time for it")
        # What still waits is looked at before this is answered.
        until(lambda: _alive(client), JOIN_S)
        client.set("muster-1", {"itr-delay": 60})
        figures.into(result)
        result.accepted = result.inputs - client.status().malformed
    result.faults += _log_faults(home / "shepherd.log", time.monotonic() - began)
    return result


def _stops(call: bytes) -> bool:
    try:
        return isinstance(codec.call(call).body, m.StopAsk)
    except ValueError:
        return False


def _alive(client: HerdClient) -> bool:
    try:
        return any(view.name == "muster-1" and view.presence == "alive" for view in client.musters())
    except WireError:
        return False


def joined(end: MusterEndpoint, name: str) -> dict[str, int | str]:
    """A muster's hello, welcomed; gives what its messages are known by."""
    epoch = new_session()
    hello = msgspec.structs.replace(HELLO, muster=name, muster_epoch=epoch, version=m.PROTOCOL_VERSION, groups=())
    for _ in range(80):
        end.send_pulse(msgspec.structs.replace(hello, sent_s=time.monotonic()))
        for message in end.receive(0.5):
            if isinstance(message, m.Welcome):
                spool = new_session()
                known = {"muster_epoch": epoch, "shepherd_epoch": message.shepherd_epoch, "spool": spool}
                end.send_offer(m.Offer(first=1, **known))
                return {**known, "muster": name}
    raise AssertionError("the fuzzed muster was not welcomed")


def _welcomed(end: ShepherdEndpoint, frames: Frames, told: dict[bytes, bytes]) -> bool:
    """Hear what the muster says, and welcome it when it says hello; whether it has been welcomed."""
    for received in end.receive(0.0):
        if isinstance(received.message, m.Hello):
            hello, epoch = received.message, new_session()
            frames.epochs = {"muster_epoch": hello.muster_epoch, "shepherd_epoch": epoch, "muster": "muster-1"}
            told[b"route"] = received.route
            end.welcome(received)
            welcome = m.Welcome(
                version=m.PROTOCOL_VERSION, muster_epoch=hello.muster_epoch, shepherd_epoch=epoch,
                sent_s=time.monotonic(), hello_s=hello.sent_s, log=77,
            )  # fmt: skip
            end.reply(received, welcome)
    return bool(told)


def _to_a_muster(home: Path, name: str, seed: int, seconds: float, count: int) -> Result:
    """A shepherd that is no shepherd: it welcomes the muster, and from then on anything comes."""
    result = Result(name=name)
    keys = home / "keys"
    create(keys, ["shepherd", "operator", "muster-1"])
    end = ShepherdEndpoint("127.0.0.1", Ports(0, 0, 0, 0), for_shepherd(keys))
    frames = Frames(seed)
    began = time.monotonic()
    outside: set[int] = set()
    with _spawned(home, "muster-1.log", "mustherd.muster", "--config", _muster_toml(home, end.ports)) as victim:
        try:
            told: dict[bytes, bytes] = {}
            until(lambda: _welcomed(end, frames, told), JOIN_S)
            figures = Figures(victim.pid)
            seq = 0

            def send() -> None:
                nonlocal seq
                r = frames.choice(("down", "down", "credit", "control"))
                socket = {"down": end._pulse, "credit": end._log, "control": end._control}[r]
                route = told[b"route"]
                socket.send_multipart([route, *frames.frames(r)], zmq.DONTWAIT)
                if result.inputs % 100 == 0:
                    seq += 1
                    decision = m.Decision(
                        shepherd_epoch=int(frames.epochs["shepherd_epoch"]), seq=seq, issued_s=time.monotonic(),
                        ttl_s=5.0, settings=(Setting("node-0", "itr-delay", frames.choice((2, 50, 100, 101, 0, 400))),),
                    )  # fmt: skip
                    end._control.send_multipart([route, codec.encode(decision)], zmq.DONTWAIT)
                    _welcomed(end, frames, told)

            for _ in _sent(result, seconds, count, send, figures.look):
                value = _registers(home).get("itr-delay", 1)
                if not (value == 1 or LOW <= value <= HIGH):
                    outside.add(value)
                if victim.poll() is not None:
                    break
        finally:
            end.close()
        if victim.poll() is not None:
            result.faults.append(f"the muster ended with {victim.poll()}")
            return result
        if outside:
            result.faults.append(f"it was set outside of its ranges: {outside}")
        figures.into(result)
        result.accepted = result.inputs
        # Nobody is its shepherd any more: the node is put back, and SIGTERM ends it in order.
        until(lambda: _registers(home).get("itr-delay", 1) == 1, 20.0)
        victim.terminate()
        if code := victim.wait(JOIN_S):
            result.faults.append(f"it ended with {code}")
    result.faults += _log_faults(home / "muster-1.log", time.monotonic() - began)
    return result
