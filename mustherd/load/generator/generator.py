"""Starts the generator's workers, tells them when the window opens and closes, and merges what they counted."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec

from mustherd.load.address import Address
from mustherd.load.curve import Curve, of
from mustherd.load.error import LoadError
from mustherd.load.generator.merge import merge
from mustherd.load.generator.options import (
    Close,
    Counted,
    Failed,
    Frames,
    GeneratorOptions,
    Open,
    Piece,
    Ready,
    SendPlan,
    Up,
    frame,
)
from mustherd.load.memcached.counters import Counters, read, total
from mustherd.load.memcached.presets import PLAIN, PRESETS
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport

READY_TIMEOUT_S = 20.0
"""For workers to start, connect and store their records; usually half a second, within the ramp."""
REPORT_TIMEOUT_S = 20.0
"""For workers to count up; usually some milliseconds, and more where others have their core."""
STOP_TIMEOUT_S = 2.0
COUNTERS_SLACK_S = 0.005
"""Between asking for the servers' counters and the window's end that they stand for; usually a millisecond."""
COUNTER_READS = 5
"""How often they are read at most to come that close."""

_UP = msgspec.msgpack.Decoder(Up)
_Message = TypeVar("_Message", Ready, Counted)


class Generator:
    """A load that runs; keeps the contract of mustherd.node.node.RunningLoad, on CLOCK_MONOTONIC.

    Starting returns at once; the workers need part of a second to be up, which belongs to the ramp. `close_window` and
    `stop` end them, and they end by themselves when this process does.
    """

    def __init__(
        self,
        options: GeneratorOptions,
        servers: Sequence[Address],
        load: Load,
        seed: int,
        *,
        counters: Callable[[], Counters] | None = None,
    ) -> None:
        """A load's curve begins when a window opens. `counters` reads the servers' own.

        LoadError when a worker can't be started; KeyError for an unknown preset.
        """
        self._counters = counters or (lambda: total(read(s, options.protocol == "binary") for s in servers))
        self._before: Counters | None = None
        self._t0: float | None = None
        self._slack_s = 0.0
        self._workers: list[_Process] = []
        try:
            for plan in plans(options, servers, load, seed, of(load)):
                self._workers.append(_Process(plan))
        except OSError as error:
            self.stop()
            raise LoadError(Reason.LOAD_FAILED, f"a worker can't be started: {error}") from None

    def __enter__(self) -> "Generator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process ids."""
        return tuple(w.pid for w in self._workers)

    def ready(self) -> None:
        """Wait until every worker's load runs. LoadError."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        for worker in self._workers:
            worker.ready(deadline)

    def open_window(self) -> None:
        """Count from here. Waits for workers that are not up yet. LoadError."""
        self.ready()
        self._before, self._t0, self._slack_s = self._counted_now()
        for worker in self._workers:
            worker.tell(Open(self._t0))

    def close_window(self) -> LoadReport:
        """Count to here, report, and end the load. LoadError; RuntimeError when no window is open."""
        if self._t0 is None or self._before is None:
            raise RuntimeError("close_window without open_window")
        t0 = self._t0
        try:
            after, t1, slack_s = self._counted_now()
            for worker in self._workers:
                worker.tell(Close(t1))
            counted = after.since(self._before)
            deadline = time.monotonic() + REPORT_TIMEOUT_S
            report = merge([w.counted(deadline) for w in self._workers], t0, t1)
        finally:
            self.stop()
        slack = {"counters_slack_s": self._slack_s + slack_s}
        return msgspec.structs.replace(report, counters={**report.counters, **counted.plain(), **slack})

    def _counted_now(self) -> tuple[Counters, float, float]:
        """The servers' counters, the time after, and how much earlier at most they were read: where a busy machine
        came between, they are read again."""
        for _ in range(COUNTER_READS):
            asked = time.monotonic()
            found = self._counters()
            now = time.monotonic()
            if now - asked <= COUNTERS_SLACK_S:
                break
        return found, now, now - asked

    def stop(self) -> None:
        """End the load; harmless when it has ended."""
        self._t0 = None
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.end()


def plans(
    options: GeneratorOptions, servers: Sequence[Address], load: Load, seed: int, curve: Curve
) -> tuple[SendPlan, ...]:
    """What each worker shall do. KeyError for an unknown preset.

    Requests outstanding are shared out evenly over connections, and there are no more connections than that.
    """
    # By http there are no keys and values.
    preset = PLAIN if options.protocol == "http" else PRESETS[load.preset]
    workers = max(1, min(options.workers, load.outstanding))
    connections = max(1, min(options.connections, load.outstanding // workers))
    pieces = tuple(Piece(s.seconds, s.qps, s.end_qps) for s in curve.segments)
    # Awake for longer before each request than they lie apart, it would never sleep: the kernel takes the core from a
    # process that goes before all others for 50 ms of a second in which it used 950.
    most_qps = max((max(p.qps, p.end_qps) for p in pieces), default=0.0)
    early_us = min(options.early_us, int(1e6 * workers / most_qps)) if most_qps > 0 else options.early_us
    taken = len(set(options.cores)) if options.cores else workers
    return tuple(
        SendPlan(
            servers=tuple(servers),
            worker=number,
            workers=workers,
            seed=seed,
            curve=pieces,
            update_ratio=load.update_ratio,
            connections=connections,
            # Few servers of HTTP take a request before they have answered the last.
            depth=1 if options.protocol == "http" else max(1, load.outstanding // (workers * connections)),
            protocol=options.protocol,
            path=options.path,
            records=options.records,
            key_size=options.key_size or preset.key_size,
            value_size=options.value_size or preset.value_size,
            arrivals=options.arrivals or preset.arrivals,
            preload=options.preload,
            count_from=options.count_from,
            blocking=options.blocking,
            early_us=early_us,
            core=options.cores[number % len(options.cores)] if options.cores else None,
            leaves_room=taken < len(os.sched_getaffinity(0)),
        )
        for number in range(workers)
    )


class _Process:
    """A worker's process and the pipes to it."""

    def __init__(self, plan: SendPlan) -> None:
        # Numeric libraries start threads of their own otherwise.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mustherd.load.generator.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,
        )
        self._frames = Frames()
        self._bodies: list[bytes] = []
        self._is_ready = False
        self.tell(plan)

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: SendPlan | Open | Close) -> None:
        assert self._process.stdin is not None  # noqa: S101 - opened above
        # A worker that is gone says why on its output, or its end is noticed there.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(frame(message))

    def ready(self, deadline: float) -> None:
        if not self._is_ready:
            self._next(Ready, deadline)
            self._is_ready = True

    def counted(self, deadline: float) -> Counted:
        return self._next(Counted, deadline)

    def _next(self, kind: type[_Message], deadline: float) -> _Message:
        assert self._process.stdout is not None  # noqa: S101 - opened above
        output = self._process.stdout.fileno()
        while not self._bodies:
            if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LoadError(Reason.LOAD_TIMEOUT, f"worker {self.pid} of the load generator does not answer")
            data = os.read(output, 65536)
            if not data:
                raise LoadError(Reason.LOAD_FAILED, f"worker {self.pid} of the load generator ended by itself")
            self._bodies += self._frames.feed(data)
        message = _UP.decode(self._bodies.pop(0))
        if isinstance(message, Failed):
            raise LoadError(message.reason, message.message)
        if not isinstance(message, kind):
            raise LoadError(Reason.LOAD_FAILED, f"worker {self.pid} said {type(message).__name__} out of turn")
        return message

    def hang_up(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - opened above
        self._process.stdin.close()

    def end(self) -> None:
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
