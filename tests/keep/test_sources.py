"""Sources of signals: each through its suite, and what is said of one that can't be made."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mustherd.keep.source import Musters, Sample, Source, SourceError
from mustherd.keep.sources.nic import NicOptions, NicSource
from mustherd.keep.sources.registry import SourceConfigError, make
from mustherd.plugins import SOURCES, NoOptions
from mustherd.testing.source import ONE, TWO, SourceContract, view
from mustherd.wire.messages import Measured, MusterView
from tests.plugged import found


class Server(socketserver.ThreadingTCPServer):
    """As much of a memcached as a source asks; `broken`: it hangs up on everybody."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.broken = False
        self.gets = 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Answers(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        for line in self.rfile:
            if self.server.broken:
                return
            if line.startswith(b"stats"):
                self.server.gets += 1000
                told = {
                    "cmd_get": self.server.gets,
                    "cmd_set": 5,
                    "rusage_user": 1.5,
                    "rusage_system": 0.5,
                    "curr_connections": 1,
                }
                lines = [f"STAT {name} {value}\r\n" for name, value in told.items()]
                self.wfile.write("".join([*lines, "END\r\n"]).encode())
            else:
                self.wfile.write(b"END\r\n")


class OfServers(SourceContract):
    exact = False
    given: ClassVar[dict[str, Any]]

    @pytest.fixture
    def servers(self) -> Iterator[dict[str, Server]]:
        made = {ONE: Server(), TWO: Server()}
        yield made
        for server in made.values():
            server.shutdown()
            server.server_close()

    @pytest.fixture
    def herd(self, servers: dict[str, Server]) -> dict[str, MusterView]:
        return {name: view(name, ("127.0.0.1", server.server_address[1])) for name, server in servers.items()}

    @pytest.fixture
    def source(self, musters: Musters) -> Iterator[Source]:
        [made] = make([self.given], musters)
        yield made
        made.close()

    @pytest.fixture
    def show(self, servers: dict[str, Server]) -> Callable[[float], None]:
        def show(_amount: float) -> None:
            for server in servers.values():
                server.broken = False

        return show

    @pytest.fixture
    def break_node(self, servers: dict[str, Server]) -> Callable[[str], None]:
        return lambda name: setattr(servers[name], "broken", True)


class TestCounters(OfServers):
    given: ClassVar[dict[str, Any]] = {"kind": "memcached"}


class TestProbe(OfServers):
    given: ClassVar[dict[str, Any]] = {"kind": "memcached-probe", "requests": 10, "pause_us": 0}


class TestApplication(SourceContract):
    @pytest.fixture
    def source(self, musters: Musters, tmp_path: Path) -> Iterator[Source]:
        given = {"kind": "application", "signal": "power", "file": f"{tmp_path}/{{muster}}", "age_seconds": 1}
        [made] = make([given], musters)
        yield made
        made.close()

    @pytest.fixture
    def show(self, tmp_path: Path) -> Callable[[float], None]:
        def show(amount: float) -> None:
            for name in (ONE, TWO):
                (tmp_path / name).write_text(f"{amount}\n")

        return show

    @pytest.fixture
    def break_node(self, tmp_path: Path) -> Callable[[str], None]:
        return lambda name: (tmp_path / name).unlink()


def counted(seconds: float = 2.0, **counts: float) -> Measured:
    return Measured(
        measure=1, in_force=0, t0_s=0.0, t1_s=seconds, energies=(), before=(), after=(), load=None, rows={},
        rows_lost={}, last_block=0, counts=counts,
    )  # fmt: skip


def test_a_card_s_counts_are_a_load_by_what_trials_counted() -> None:
    musters = {ONE: view(ONE)}
    learnt = {"nic_rx_bytes": [(400e3, 40e6), (100e3, 12e6)]}
    source = NicSource(NicOptions(), lambda: musters)
    source.learn(learnt)
    for rate, load in ((12e6, 100e3), (40e6, 400e3), (6e6, 50e3), (80e6, 800e3), (0.0, 0.0), (21.9e6, 200e3)):
        source.seen(ONE, counted(nic_rx_bytes=2 * rate))
        [sample] = source.read()
        assert sample.value == pytest.approx(load, rel=0.01)
        assert sample.age_s < 1
        assert not source.read(), "each window is told once"
    source.seen(ONE, counted(nic_rx_packets=5.0))
    with pytest.raises(SourceError, match="muster-1: its windows have no nic_rx_bytes"):
        source.read()


def test_one_answer_without_a_node_s_name_is_all_nodes(tmp_path: Path) -> None:
    (tmp_path / "p99").write_text("0.2\n")
    given = {"kind": "application", "signal": "latency", "file": str(tmp_path / "p99"), "unit": "ms"}
    [source] = make([given], lambda: {name: view(name) for name in (ONE, TWO)})
    assert source.read() == [Sample(ONE, "latency", 200.0), Sample(TWO, "latency", 200.0)]


class Odd:
    """A source of another package; `told` is what it says."""

    Options = NoOptions
    told: ClassVar[Any] = ()

    def __init__(self, _options: NoOptions, _musters: Musters) -> None:
        pass

    def read(self) -> Sequence[Sample]:
        told: Sequence[Sample] = type(self).told() if callable(type(self).told) else type(self).told
        return told

    def close(self) -> None:
        pass


def test_what_another_package_s_source_says_can_be_used_or_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("odd", f"{__name__}:Odd", SOURCES))
    [source] = make([{"kind": "odd"}], dict)
    for told, said in (
        ((ONE, "heat", 1.0), "signal 'heat' is none of load, latency, power"),
        ((ONE, "load", float("nan")), "muster-1: load nan"),
        ((ONE, "load", -1.0), "muster-1: load -1.0"),
        ((ONE, "load", "much"), "it gives 'much', which is no number"),
        ((ONE, "load", "12"), "TypeError: it gives '12', which is no number"),
        ((ONE, "load", 1.0, "1"), "TypeError: it gives '1', which is no number"),
        ((ONE, "load", 10**400), "OverflowError"),
        ((ONE,), "missing"),
    ):
        monkeypatch.setattr(Odd, "told", (told,))
        with pytest.raises(SourceError, match=said):
            source.read()
    monkeypatch.setattr(Odd, "told", lambda: json.loads("["))
    with pytest.raises(SourceError, match=r"source 'odd' of .*: JSONDecodeError"):
        source.read()
    monkeypatch.setattr(Odd, "told", ((ONE, "load", 7),))
    assert source.read() == [Sample(ONE, "load", 7.0)]


def test_another_package_s_source_that_can_t_be_made_or_closed_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that broke as it was closed took the keeper's last story and its state with it."""

    def broken(*_: object) -> None:
        raise RuntimeError("one\ntwo")

    found(monkeypatch, EntryPoint("odd", f"{__name__}:Odd", SOURCES))
    monkeypatch.setattr(Odd, "close", broken)
    [source] = make([{"kind": "odd"}], dict)
    source.close()
    assert "source 'odd' of tests can't be closed: RuntimeError: one two (test_sources.py:" in caplog.text
    monkeypatch.setattr(Odd, "__init__", broken)
    with pytest.raises(SourceConfigError, match=r"^sources\[0\] \(odd\): source 'odd' of tests can't be made: Run"):
        make([{"kind": "odd"}], dict)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "sources[0]: kind: which kind of source is it?; allowed: application, intlog, memcached, memcached-probe,"
         " nic"),
        ({"kind": "memcache"}, "sources[0] (memcache): no source 'memcache' is installed; there are: application, "
         "intlog, memcached, memcached-probe, nic; did you mean 'memcached'?"),
        ({"kind": "memcached", "port": 1}, "sources[0] (memcached): port: unknown option 'port'; allowed: no options"),
        ({"kind": "memcached-probe", "requests": 1}, "sources[0] (memcached-probe): requests: should be a whole number"
         " >= 10, found '1'"),
        ({"kind": "nic"}, "sources[0] (nic): curve: no trial or row of a table has counted nic_rx_bytes: which loads"
         " are how much of it?; allowed: pairs of requests a second and what is counted a second there, both rising:"
         " [[400000, 41.2e6], ...]"),
        ({"kind": "nic", "curve": [[2, 5], [1, 9]]}, "sources[0] (nic): curve: 5 a second at 2 requests a second is no"
         " more than 9 at 1; allowed: pairs of requests a second and what is counted a second there, both rising:"
         " [[400000, 41.2e6], ...]"),
        ({"kind": "application", "signal": "load", "file": "x"}, "sources[0] (application): file 'x' should begin"
         " with /"),
    ],
)  # fmt: skip
def test_one_that_can_t_be_made_is_named(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(SourceConfigError) as told:
        make([given], dict)
    assert str(told.value) == said
