"""Gives a reader one input after another in a process of its own, and watches what that costs."""

import contextlib
import json
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.parsers import Target, targets

SLOW_S = 10.0
"""For one input: a reader that takes longer can be made to stand still by whoever writes what it reads."""
MOST_GROWTH_MIB = 300
MOST_FAULTS = 10


@dataclass
class Result:
    """What came of a target."""

    name: str
    inputs: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    growth_mib: float = 0.0
    descriptors: int = 0
    faults: list[str] = field(default_factory=list)


class SlowError(BaseException):
    """An input took too long."""


def run(name: str, seed: int, *, seconds: float, count: int, keep: Path) -> Result:
    """Inputs for one target until the seconds or the count are over.

    An input that shows a fault, and one under which the process died, is kept in `keep`.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
        context = get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        last = Path(home) / "last"
        named = {"seconds": seconds, "count": count, "home": Path(home), "last": last, "keep": keep}
        process = context.Process(target=_child, args=(theirs, name, seed), kwargs=named)
        process.start()
        theirs.close()
        result: Result | None = None
        with contextlib.suppress(EOFError):
            result = Result(**json.loads(ours.recv()))
        process.join()
        if result is not None:
            return result
        keep.mkdir(parents=True, exist_ok=True)
        kept = keep / f"{name.replace(' ', '-')}-died"
        kept.write_bytes(last.read_bytes() if last.exists() else b"")
        return Result(name=name, faults=[f"the process ended with {process.exitcode}; its last input is {kept}"])


def names() -> list[str]:
    """Every target's name."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
        return [target.name for target in targets(Path(home))]


def _child(
    to: Connection, name: str, seed: int, *, seconds: float, count: int, home: Path, last: Path, keep: Path
) -> None:
    target = next(one for one in targets(home) if one.name == name)
    result = Result(name=name)
    # Some, so that what is loaded once is loaded.
    warm = list(_inputs(target, seed, seconds=5.0, count=20))
    for data in warm:
        _one(target, data, result, keep)
    result = Result(name=name, faults=result.faults)
    before, open_before = _rss_mib(), _descriptors()
    for data in _inputs(target, seed, seconds=seconds, count=count):
        last.write_bytes(data)
        _one(target, data, result, keep)
        if len(result.faults) >= MOST_FAULTS:
            break
    result.growth_mib = round(_rss_mib() - before, 1)
    result.descriptors = _descriptors() - open_before
    if result.growth_mib > MOST_GROWTH_MIB:
        result.faults.append(f"{result.growth_mib} MiB of memory were not given back")
    if result.descriptors > 4:
        result.faults.append(f"{result.descriptors} descriptors were left open")
    to.send(json.dumps(result.__dict__))
    to.close()
    os._exit(0)


def _inputs(target: Target, seed: int, *, seconds: float, count: int) -> Iterator[bytes]:
    r = random.Random(f"{seed} {target.name}")
    over = time.monotonic() + seconds
    for _ in range(count):
        if time.monotonic() > over:
            return
        yield target.input(r)


def _one(target: Target, data: bytes, result: Result, keep: Path) -> None:
    def slow(*_: object) -> None:
        raise SlowError

    signal.signal(signal.SIGALRM, slow)
    signal.setitimer(signal.ITIMER_REAL, SLOW_S)
    began = time.monotonic()
    try:
        target.read(data)
        result.accepted += 1
    except target.errors:
        pass
    except SlowError:
        _fault(result, keep, data, f"took more than {SLOW_S:g} s")
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        _fault(
            result,
            keep,
            data,
            f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})",
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    result.inputs += 1
    result.slowest_s = round(max(result.slowest_s, time.monotonic() - began), 3)


def _fault(result: Result, keep: Path, data: bytes, what: str) -> None:
    if any(what.split(":", maxsplit=1)[0] in fault and what.rsplit("(", 1)[-1] in fault for fault in result.faults):
        return
    keep.mkdir(parents=True, exist_ok=True)
    file = keep / f"{result.name.replace(' ', '-')}-{len(result.faults)}"
    file.write_bytes(data)
    result.faults.append(f"{what}; input {file}")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _rss_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (read often)
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
