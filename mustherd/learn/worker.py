"""A search in a process of its own, so that no heartbeat waits for a model to be fitted.

`SearchProcess` is the client, a `Search` like any other; `python -m mustherd.learn.worker` is the other end. They
speak msgspec structs with a 4-byte length before each, over the worker's stdin and stdout. The worker ends when its
stdin does, however its parent went.
"""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from mustherd.daemon import how_ended
from mustherd.errors import text_of
from mustherd.learn.base import CalibratedSearch, Observation, Problem, Search, Settings
from mustherd.learn.noise import Noise
from mustherd.learn.registry import SearchError, SearchGoneError, check, find, kind_of, make
from mustherd.plugins import PluginError

ANSWER_SECONDS = 120.0
"""How long an answer may take before the worker is given up; the first one waits for imports of a few seconds."""
CLOSE_SECONDS = 2.0
STDERR_CHARACTERS = 2000
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""With more threads than one BLAS makes small matrices slower, and takes the other cores from the experiment."""
LENGTH = struct.Struct(">I")


class Start(msgspec.Struct, tag=True, frozen=True):
    """The first request: which search to run, by its name among those installed."""

    name: str
    problem: Problem
    seed: int
    options: dict[str, object]


class Ask(msgspec.Struct, tag=True, frozen=True):
    """`Search.ask`."""

    pending: tuple[Settings, ...]


class Tell(msgspec.Struct, tag=True, frozen=True):
    """`Search.tell`."""

    observations: tuple[Observation, ...]


class Calibrate(msgspec.Struct, tag=True, frozen=True):
    """`Calibrated.calibrate`, of a search that has it; nothing to another one."""

    noise: dict[str, Noise]


class State(msgspec.Struct, tag=True, frozen=True):
    """`Search.state`."""


class Done(msgspec.Struct, tag=True, frozen=True):
    """The answer to any request that worked; `point` and `state` where they were asked for."""

    point: Settings | None = None
    state: dict[str, object] = {}


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The request was wrong (a ValueError) or, with `broken`, the search failed at it."""

    message: str
    broken: bool = False


_requests = msgspec.msgpack.Decoder(Start | Ask | Tell | Calibrate | State)
_answers = msgspec.msgpack.Decoder(Done | Refused)
_encoder = msgspec.msgpack.Encoder()


class Worker:
    """The process before it knows what to search; it imports meanwhile what the search called `name` takes."""

    def __init__(self, name: str) -> None:
        """SearchError when no process can be started."""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mustherd.learn.worker", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, **dict.fromkeys(ONE_THREAD, "1")},
                # Out of the terminal's foreground group: Ctrl-C is for the parent to act on.
                process_group=0,
            )
        except OSError as error:
            self.errors.close()
            raise SearchError(f"the search's process could not be started: {error}") from error

    def close(self) -> None:
        """End the process: its stdin is closed, and it is killed if that doesn't end it. Harmless when repeated."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


_waiting: dict[str, Worker] = {}
"""By the name of its search: a process that was started before anybody knew what to search."""


def start_early(name: str) -> None:
    """Start the process of the next `SearchProcess` called `name`: imports take seconds, and herds come together
    meanwhile. SearchError when none can be started."""
    if name not in _waiting:
        _waiting[name] = Worker(name)


def end_unused() -> None:
    """End the processes that were started early and that no search has taken."""
    while _waiting:
        _waiting.popitem()[1].close()


class SearchProcess:
    """A `Search` that runs elsewhere; a context manager, or call `close`.

    The process starts at once, unless one was started early, and imports while the caller goes on; the first request
    waits for it.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        *,
        seed: int = 0,
        options: Mapping[str, object] | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """ValueError and PluginError as mustherd.learn.registry.make; SearchError when no process can be started."""
        check(name, problem, options or {})
        self._name = name
        self._answer_seconds = answer_seconds
        self._starting = True
        worker = _waiting.pop(name, None) or Worker(name)
        self._worker, self._process, self._errors = worker, worker.process, worker.errors
        self._send(Start(name, problem, seed, dict(options or {})))

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        return self._request(Ask(tuple(pending))).point

    def tell(self, observations: Sequence[Observation]) -> None:
        self._request(Tell(tuple(observations)))

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        self._request(Calibrate(dict(noise)))

    def state(self) -> dict[str, object]:
        return self._request(State()).state

    def close(self) -> None:
        """End the process: its stdin is closed, and it is killed if that doesn't end it. Harmless when repeated."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, request: Ask | Tell | Calibrate | State) -> Done:
        if self._errors.closed:
            raise SearchError("the search's process is closed")
        if self._starting:
            self._answer()
            self._starting = False
        self._send(request)
        return self._answer()

    def _send(self, request: Start | Ask | Tell | Calibrate | State) -> None:
        body = _encoder.encode(request)
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(LENGTH.pack(len(body)) + body)
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _answer(self) -> Done:
        deadline = time.monotonic() + self._answer_seconds
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        answer = _answers.decode(self._read(length, deadline))
        if isinstance(answer, Done):
            return answer
        if answer.broken:
            raise self._broken(answer.message)
        raise ValueError(answer.message)

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        data = b""
        while len(data) < size:
            if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise self._broken(f"the search's process gave no answer within {self._answer_seconds:g} s")
            chunk = os.read(descriptor, size - len(data))
            if not chunk:
                raise self._ended()
            data += chunk
        return data

    def _ended(self) -> SearchError:
        """The process is gone, or about to be; what ended it makes the difference."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        code = self._process.returncode
        kind = SearchGoneError if (code or 0) < 0 else SearchError
        return self._broken(f"the process of the search {self._name!r} {how_ended(code)}", kind)

    def _broken(self, message: str, kind: type[SearchError] = SearchError) -> SearchError:
        """Close everything and make an error of the message and the end of what the worker wrote to stderr."""
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-STDERR_CHARACTERS:]
        self.close()
        return kind(f"{message}: {said}" if said else message)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests from `source` until it ends."""
    search: Search | None = None
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        body = source.read(LENGTH.unpack(head)[0])
        answer: Done | Refused = Done()
        try:
            match _requests.decode(body):
                case Start(name, problem, seed, options):
                    search = make(name, problem, seed=seed, options=options)
                case _ if search is None:
                    answer = Refused("no search was started", broken=True)
                case Ask(pending):
                    answer = Done(point=search.ask(pending))
                case Tell(observations):
                    search.tell(observations)
                case Calibrate(noise):
                    if isinstance(search, CalibratedSearch):
                        search.calibrate(noise)
                case State():
                    answer = Done(state=search.state())
        except ValueError as error:
            answer = Refused(text_of(error))
        except (SearchError, PluginError) as error:
            answer = Refused(str(error), broken=True)
        except Exception as error:  # whatever broke in a search, the parent has to hear of it
            answer = Refused(f"{type(error).__name__}: {text_of(error)}", broken=True)
        reply = _encoder.encode(answer)
        sink.write(LENGTH.pack(len(reply)) + reply)
        sink.flush()


def warm(name: str) -> None:
    """Import what a search takes that says how; what is wrong with it is told when it is made."""
    with contextlib.suppress(Exception):
        getattr(kind_of(find(name)), "warm", lambda: None)()


def main() -> int:
    """Serve on stdin and stdout; whatever else is printed goes to stderr. The argument is the search's name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb") as sink, contextlib.suppress(BrokenPipeError):
        os.dup2(2, 1)
        for name in sys.argv[1:2]:
            warm(name)
        serve(sys.stdin.buffer, sink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
