"""One worker of the generator: a loop over its connections; run as a process, spoken to over its standard streams.

A pass sends what is due, then takes what has come. Work in it is counted in microseconds: at 40,000 requests a second
there are 25 for each.
"""

import gc
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from mustherd.load.error import LoadError
from mustherd.load.generator.answers import Parser, ProtocolError, parser
from mustherd.load.generator.options import Close, Counted, Down, Failed, Frames, Open, Ready, SendPlan, Up, frame
from mustherd.load.generator.requests import Requests, preload
from mustherd.load.generator.schedule import Schedule
from mustherd.load.generator.tally import Tally
from mustherd.reasons import Reason

SENDS_PER_PASS = 128
"""At most, before answers are taken: a backlog doesn't keep answers waiting."""
EVENTS = 64
"""Connections that are looked at in one pass: room for them is made anew each time."""
QUIET_S = 200e-6
"""With nothing due for this long there is time for work that can wait."""
FOLD_BLOCK = 65536
"""Answers that pile up at most when there is no quiet moment to count them."""
CONNECT_TIMEOUT_S = 5.0
MOST_FAVOURED = -20
"""The nice value that weighs most."""
BUFFER_BYTES = 128 * 1024


class Link:
    """One connection: what is due on it, in the order of the requests, and what came."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.pending: deque[float] = deque()
        """When the latency of each unanswered request began; negative for updates."""
        self.waiting: deque[tuple[float, int]] = deque()
        """Requests held back: when due, and which."""
        self.batch: list[bytes] = []
        self.unsent = b""
        """What the socket didn't take."""
        self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self.fill = 0

    def grow(self) -> None:
        """Twice the room for an answer that is longer than the buffer."""
        self.view.release()
        self.buffer += bytes(len(self.buffer))
        self.view = memoryview(self.buffer)


class Worker:
    """Carries out one plan."""

    def __init__(self, plan: SendPlan) -> None:
        """Connect and store the records. LoadError; ValueError for a distribution that can't be read."""
        self._plan = plan
        self._from_due = plan.count_from == "due"
        rng = np.random.default_rng([plan.seed, plan.worker])
        self._requests = Requests(plan, rng)
        if plan.preload:
            for server in plan.servers:
                preload(server, self._requests.updates[plan.worker :: plan.workers], plan.protocol)
        self._parse: Parser = parser(plan.protocol)
        self._epoll = select.epoll()
        self._links = [self._connect(i) for i in range(plan.connections)]
        self._by_fd = {link.fd: link for link in self._links}
        self._schedule = Schedule(plan, rng, time.monotonic())
        self._schedule.prepare()
        self._tally = Tally()
        self._orders = Frames()
        self._at = 0
        self._due = 0.0
        """When the request at `_at` is due."""
        self._idle_s = 0.0
        self._opened: tuple[float, float, float] | None = None
        self.takes_precedence = False

    def _connect(self, index: int) -> Link:
        server = self._plan.servers[index % len(self._plan.servers)]
        try:
            sock = socket.create_connection((server.host, server.port), timeout=CONNECT_TIMEOUT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise LoadError(Reason.SERVER_UNREACHABLE, f"no server at {server}: {error.strerror or error}") from None
        sock.setblocking(False)
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return Link(sock)

    def run(self) -> Counted | None:
        """Offer the load until the window closes, and report it; None when told to end before. LoadError."""
        clock, poll, spin, by_fd = time.monotonic, self._epoll.poll, not self._plan.blocking, self._by_fd
        early_s = self._plan.early_us / 1e6
        orders = sys.stdin.fileno()
        self._epoll.register(orders, select.EPOLLIN)
        self._next()
        idle_since = 0.0
        while True:
            now = clock()
            sent = now >= self._due
            if sent:
                self._send(now)
            events = poll(0, EVENTS)
            if not (sent or events):
                if not idle_since:
                    idle_since = now
                gap = self._due - now
                if gap > QUIET_S and self._chores():
                    self._idle_s += now - idle_since
                    idle_since = 0.0
                elif not spin and gap > early_s:
                    # An epoll waits in whole milliseconds; a select on it in microseconds.
                    select.select([self._epoll], [], [], min(gap - early_s, 1.0))
                continue
            if idle_since:
                self._idle_s += now - idle_since
                idle_since = 0.0
            for fd, mask in events:
                if fd == orders:
                    end = self._order()
                    if end is not None:
                        return end.counted
                else:
                    self._attend(by_fd[fd], mask)

    def _chores(self) -> bool:
        """Work that can wait for a moment in which no answer is awaited; False when there was none, or no moment."""
        if any(link.pending for link in self._links):
            return False
        return self._schedule.prepare() or self._tally.fold()

    def _next(self) -> None:
        """Find out when the next request is due."""
        schedule = self._schedule
        if self._at >= len(schedule.dues):
            schedule.advance()
            self._tally.fold(FOLD_BLOCK)
            self._at = 0
        self._due = schedule.dues[self._at]

    def _send(self, now: float) -> None:
        """Send what is due, or hold it back where its connection has as much outstanding as it may."""
        schedule, at, depth, from_due = self._schedule, self._at, self._plan.depth, self._from_due
        dues, owners, numbers = schedule.dues, schedule.links, schedule.requests
        links, requests, records = self._links, self._requests.bytes, self._requests.records
        lags = self._tally.lags
        lag, sent_at = lags.values.append, lags.ends.append
        stop = min(len(dues), at + SENDS_PER_PASS)
        touched = []
        while at < stop:
            due = dues[at]
            if due > now:
                break
            number, link = numbers[at], links[owners[at]]
            at += 1
            pending = link.pending
            if link.waiting or len(pending) >= depth:
                link.waiting.append((due, number))
                continue
            batch = link.batch
            if not batch:
                touched.append(link)
            batch.append(requests[number])
            start = due if from_due else time.monotonic()
            pending.append(start if number < records else -start)
            lag(now - due)
            sent_at(now)
        for link in touched:
            self._flush(link)
        self._at = at
        self._next()

    def _flush(self, link: Link) -> None:
        data = link.batch[0] if len(link.batch) == 1 else b"".join(link.batch)
        link.batch.clear()
        if link.unsent:
            link.unsent += data
            return
        try:
            done = link.sock.send(data)
        except BlockingIOError:
            done = 0
        except OSError as error:
            raise _gone(error.strerror or str(error)) from None
        if done < len(data):
            link.unsent = data[done:]
            self._epoll.modify(link.fd, select.EPOLLIN | select.EPOLLOUT)

    def _attend(self, link: Link, mask: int) -> None:
        if link.unsent and mask & select.EPOLLOUT:
            link.batch.append(link.unsent)
            link.unsent = b""
            self._flush(link)
            if not link.unsent:
                self._epoll.modify(link.fd, select.EPOLLIN)
        if mask != select.EPOLLOUT:
            self._receive(link)

    def _receive(self, link: Link) -> None:
        # What woke us has come by now; what comes during the next line's microsecond is taken along.
        now = time.monotonic()
        try:
            count = link.sock.recv_into(link.view[link.fill :] if link.fill else link.view)
        except BlockingIOError:
            return
        except OSError as error:
            raise _gone(error.strerror or str(error)) from None
        if count == 0:
            raise _gone("it closed the connection")
        if not self._from_due:
            now = time.monotonic()  # as mutilate does it: when it has been read
        fill = link.fill + count
        used = self._parse(link.buffer, fill, link.pending, now, self._tally)
        if used < fill:
            link.view[: fill - used] = link.view[used:fill]
            if fill - used == len(link.buffer):
                link.grow()
        link.fill = fill - used
        if link.waiting:
            self._release(link, now)

    def _release(self, link: Link, now: float) -> None:
        """Send what was held back for want of room on this connection."""
        records, depth = self._requests.records, self._plan.depth
        while link.waiting and len(link.pending) < depth:
            due, number = link.waiting.popleft()
            start = due if self._from_due else now
            link.pending.append(start if number < records else -start)
            link.batch.append(self._requests.bytes[number])
        if link.batch:
            self._flush(link)

    def _order(self) -> "End | None":
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            return End(None)
        for body in self._orders.feed(data):
            order = _DOWN.decode(body)
            if isinstance(order, Open):
                self._opened = (self._idle_s, _cpu_s(), _wait_s())
                self._tally.open(order.t0_s)
                self._schedule.open(order.t0_s, self._at)
                self._next()
            elif isinstance(order, Close):
                return End(self._close(order))
        return None

    def _close(self, order: Close) -> Counted:
        if self._opened is None:
            raise LoadError(Reason.LOAD_FAILED, "the window was closed and never opened")
        idle, cpu, wait = self._opened
        idle, cpu, wait = self._idle_s - idle, _cpu_s() - cpu, _wait_s() - wait
        schedule = self._schedule
        sent = schedule.taken(self._at)
        while schedule.dues[-1] < order.t1_s:
            schedule.advance()
        due = schedule.due_before(order.t1_s)
        return Counted(
            due=due - schedule.due_before_window,
            unsent=max(0, due - sent),
            held_back=sum(len(link.waiting) for link in self._links),
            unanswered=sum(len(link.pending) for link in self._links),
            idle_s=idle,
            cpu_s=cpu,
            wait_s=wait,
            takes_precedence=self.takes_precedence,
            **self._tally.close(order.t1_s),
        )


class End(msgspec.Struct, frozen=True):
    """The load ends, with what was counted, if anything."""

    counted: Counted | None


def _gone(what: str) -> LoadError:
    return LoadError(Reason.SERVER_UNREACHABLE, f"memcached went away under load: {what}")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def take_precedence(*, blocking: bool, alone: bool, leaves_room: bool) -> bool:
    """Go before whatever else wants this process's core; False where it doesn't (it takes root).

    A generator that waits for a core measures itself. One that sleeps between requests goes first at once (SCHED_FIFO),
    as long as a core is left to others: under a high load there is no time to sleep, and a server that gets no core is
    measured as a slow one. One that never sleeps would keep everybody else out: with a core given to it alone
    it weighs more, and without one it waits its turn, since the server might be on the same core.
    """
    if not (blocking and leaves_room) and not alone:
        return False
    try:
        if blocking and leaves_room:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
        else:
            os.setpriority(os.PRIO_PROCESS, 0, MOST_FAVOURED)
    except OSError:
        return False
    return True


def _wait_s() -> float:
    """Seconds that this process was ready to run and had no core; 0 where the kernel doesn't say."""
    try:
        return int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


_DOWN = msgspec.msgpack.Decoder(Down)


def _say(message: Up) -> None:
    sys.stdout.buffer.write(frame(message))
    sys.stdout.buffer.flush()


def _first_order() -> SendPlan | None:
    frames = Frames()
    while data := os.read(sys.stdin.fileno(), 65536):
        for body in frames.feed(data):
            order = _DOWN.decode(body)
            return order if isinstance(order, SendPlan) else None
    return None


def main() -> int:
    """Take a plan from standard input, and carry it out until the window closes or the input ends."""
    # The process that started this one decides when it ends, by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plan = _first_order()
    if plan is None:
        return 0
    try:
        if plan.core is not None:
            os.sched_setaffinity(0, {plan.core})
        worker = Worker(plan)
        worker.takes_precedence = take_precedence(
            blocking=plan.blocking, alone=plan.core is not None, leaves_room=plan.leaves_room
        )
        _say(Ready())
        # Nothing here makes cycles, and a collection stops the world.
        gc.collect()
        gc.freeze()
        gc.disable()
        counted = worker.run()
        if counted is not None:
            _say(counted)
    except LoadError as error:
        return _failed(error.reason, error.message)
    except (ProtocolError, ValueError, OSError) as error:
        return _failed(Reason.LOAD_FAILED, f"{type(error).__name__}: {error}")
    return 0


def _failed(reason: Reason, why: str) -> int:
    """Say it, to whoever is still there: one that was killed took the server with it, and hears nothing."""
    try:
        _say(Failed(reason, why))
    except BrokenPipeError:
        # What is still in the buffer would be tried once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
