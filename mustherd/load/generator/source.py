"""The load `builtin`: the built-in generator on this machine, against memcached servers that it reaches."""

import time
from collections.abc import Sequence
from typing import ClassVar

from mustherd.load.base import LoadTraits, Site
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.load.memcached.counters import build, unreachable
from mustherd.terms import Load, LoadReport


class GeneratorSource:
    """Keeps the contract of mustherd.load.base.LoadSource."""

    class Options(GeneratorOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Those of the generator; beside a server it sleeps between requests unless it is told otherwise."""

        blocking: bool = True

    traits: ClassVar[LoadTraits] = LoadTraits(servers=("memcached",), open_loop=True, follows_curves=True)

    def __init__(self, site: Site, options: GeneratorOptions) -> None:
        self._options = options
        self._servers = site.servers
        self._ramp_s = site.ramp_s
        self._running: Generator | None = None

    def prepare(self) -> None:
        pass

    def start(self, load: Load, seed: int) -> "RampedLoad":
        self.stop()
        self._running = Generator(self._options, self._servers, load, seed)
        return RampedLoad(self._running, self._ramp_end())

    def _ramp_end(self) -> float:
        return time.monotonic() + self._ramp_s

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def builds(self) -> dict[str, str]:
        """Of each server; the generator is this program's. LoadError."""
        return {f"memcached at {s}": build(s, self._options.protocol == "binary") for s in self._servers}

    def check(self) -> Sequence[str]:
        return unreachable(self._servers, binary=self._options.protocol == "binary")


class RampedLoad:
    """A generator's load whose window opens when its ramp is over."""

    def __init__(self, generator: Generator, ramp_end: float) -> None:
        """`ramp_end` is a time of CLOCK_MONOTONIC."""
        self._generator = generator
        self._ramp_end = ramp_end

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the generator's workers."""
        return self._generator.pids

    def open_window(self) -> None:
        """Wait for the rest of the ramp, then count. LoadError."""
        # A worker that can't begin says so now, not after a ramp of minutes.
        self._generator.ready()
        time.sleep(max(0.0, self._ramp_end - time.monotonic()))
        self._generator.open_window()

    def close_window(self) -> LoadReport:
        """Count to here, report, and end the load. LoadError; RuntimeError when no window is open."""
        return self._generator.close_window()
