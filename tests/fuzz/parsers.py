"""Everything that reads what others wrote, each with wholes to begin from: files, outputs, rows, stores.

A reader gives a value or an error that says what is wrong, as its contract has it; anything else is a fault.
"""

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mustherd.data import DataError
from mustherd.definition import DefinitionError, dump, loads, plan, problem, settings_table
from mustherd.definition.limits import limits_of
from mustherd.errors import UserError
from mustherd.load import curve
from mustherd.load.command import results
from mustherd.load.error import LoadError
from mustherd.load.mutilate import output
from mustherd.muster import config
from mustherd.muster.journal import Journal
from mustherd.muster.spool import Spool, SpoolError
from mustherd.node.intlog import COLUMNS
from mustherd.provision.inventory import InventoryError, from_names
from mustherd.provision.manifest import from_manifest
from mustherd.rowlog import native, parquet, parse
from mustherd.rowlog.accounting import RowAccounting, StreamPosition
from mustherd.rowlog.ledger import FILE
from mustherd.rowlog.parquet import ReceivedBlock
from mustherd.store.store import DATABASE, LOGS
from mustherd.wire import codec, keys
from mustherd.wire import messages as m
from tests.fuzz import mutate
from tests.fuzz.frames import CHANNELS, Frames
from tests.load.mutilate.test_output import FORK, README
from tests.log_herd import render, rows
from tests.store import damaged

ROOT = Path(__file__).parents[2]
MANIFEST = """\
<rspec xmlns="http://www.geni.net/resources/rspec/3" xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1"
 type="manifest">
  <node client_id="node0" exclusive="true"><hardware_type name="c6220"/>
    <services><login authentication="ssh-keys" hostname="a.b.example" port="22" username="alice"/></services>
    <interface client_id="i"><ip address="10.10.1.1" netmask="255.255.255.0" type="ipv4"/></interface>
    <emulab:vnode name="x" hardware_type="c6220"/></node>
</rspec>
"""
TOML = """\
muster = "muster-1"
state = "/x"
lease_s = 3.0
[ports]
pulse = 1
[ranges]
itr-delay = {values = [1], low = 2, high = 400}
[logs]
streams = ["ixgbe-*"]
spool_mib = 64
[twin]
speed = 1
"""
KEY = 'curve\n    public-key = "' + "x" * 40 + '"\n    secret-key = "' + "y" * 40 + '"\n'
TABLE = """\
experiment: x
objective: energy_joules
constraints: [read_p99_us <= 500]
table:
- {qps: 2e5, settings: {itr-delay: 300, dvfs: 1300}, verdict: met, saving_percent: 20.0, metrics: {power_watts: 80}}
"""
TRACE = "seconds,qps\n0,100000\n10,200000\n20.5,300e3\n"
HOSTS = "node0=alice@10.0.0.5:2222 node1.example.org bob@h"


@dataclass
class Target:
    """One reader: wholes that it takes, what is made of them, and how it is called."""

    name: str
    wholes: Sequence[bytes]
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    """What its contract names."""
    binary: bool = False
    words: Sequence[str] = field(default_factory=tuple)

    def input(self, r: random.Random) -> bytes:
        """Something nearly like a whole."""
        whole = r.choice(self.wholes)
        if self.binary or r.random() < 0.2:
            return mutate.of_bytes(r, whole, self.wholes)
        return mutate.of_text(r, whole.decode(), self.words).encode("utf-8", "surrogatepass")


def targets(home: Path) -> list[Target]:
    """All of them; `home` is a folder that they may use."""
    return [*_texts(home), *_rows(home), *_stores(home), *_frames()]


def _texts(home: Path) -> list[Target]:
    file = home / "file"

    def by_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def reading(data: bytes) -> object:
            file.write_bytes(data)
            file.chmod(0o600)
            return read(file)

        return reading

    def definition(data: bytes) -> None:
        experiment = loads(data.decode("utf-8", "surrogateescape"), "fuzz.yml")
        if loads(dump(experiment), "again.yml") != experiment:
            raise AssertionError("what is written is not what was read")
        plan(experiment).rows()
        problem(experiment)

    def journal(data: bytes) -> None:
        state = home / "state"
        state.mkdir(exist_ok=True)
        for name in ("originals.json", "originals.copy.json"):
            (state / name).unlink(missing_ok=True)
        (state / "originals.json").write_bytes(data)
        (state / "originals.json").chmod(0o600)
        Journal(state).close()

    def key(file: Path) -> object:
        return keys.for_member(_named(file, "a.key_secret", "shepherd.key"), "a")

    whole_journal = _a_journal(home)
    examples = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.yml"))]
    return [
        Target("definitions", examples, definition, (DefinitionError,)),
        Target("manifests", [MANIFEST.encode()], from_manifest, (InventoryError,)),
        Target("hosts", [HOSTS.encode()], lambda d: from_names(d.decode("latin-1").split()), (InventoryError,)),
        Target(
            "mutilate's output",
            [FORK.encode(), README.encode()],
            lambda d: output.parse(d.decode("utf-8", "replace"), 1e6),
            (LoadError,),
        ),
        Target(
            "mutilate's samples",
            [b"1.5 100.25\n2.5 50.0\n" * 20],
            lambda d: output.exact(d.decode("utf-8", "replace").splitlines()),
            (LoadError,),
        ),
        Target("muster.toml", [TOML.encode()], by_file(config.load), (config.ConfigError,)),
        Target("keys", [KEY.encode()], by_file(key), (UserError,)),
        Target("tables", [TABLE.encode()], by_file(settings_table.read), (UserError,)),
        Target("traces", [TRACE.encode()], lambda d: curve.trace(d.decode("utf-8", "replace")), (ValueError,)),
        Target(
            "limits",
            [b"read_p99_us <= 500 us", b"energy_joules <= 1 kJ", b"achieved_ratio >= 98 %"],
            lambda d: limits_of([d.decode("utf-8", "replace")]),
            (UserError,),
        ),
        Target("journals", [whole_journal], journal, (UserError,)),
        *_results(),
    ]


def _results() -> list[Target]:
    """What a load's own program printed."""
    wanted = {
        "json": ('{"latency": {"p99_ms": 1.5, "n": [1, 2]}, "qps": "12k"}', "latency.p99_ms"),
        "csv": ("name,p99_ms,qps\nGET,1.5,12000\nSET,2.5,100\n", "p99_ms"),
        "hdr": (
            "  Value   Percentile   TotalCount 1/(1-Percentile)\n 1.5 0.990000 5 100.0\n#[Mean = 1.0, Max = 2]\n",
            "99",
        ),
        "regex": ("p99 1.5 ms of 12.5k qps\n", r"p99 ([0-9.]+) (\w+)"),
    }

    def reading(form: Any, at: str) -> Callable[[bytes], object]:
        result = results.Result(
            at=at, unit="" if form == "regex" else "ms", row={"name": "GET"} if form == "csv" else {}
        )
        return lambda data: results.read(form, data.decode("utf-8", "replace"), {"read_p99_us": result})

    return [
        Target(f"a program's {form}", [text.encode()], reading(form, at), (LoadError,))
        for form, (text, at) in wanted.items()
    ]


def _named(file: Path, *names: str) -> Path:
    """A folder of its own with the file under these names."""
    folder = file.parent / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in names:
        shutil.copy(file, folder / name)
    return folder


def _a_journal(home: Path) -> bytes:
    state = home / "whole-state"
    made = Journal(state)
    made.record({("node-0", "dvfs"): 2800, ("node-0", "itr-delay"): 1})
    made.close()
    return (state / "originals.json").read_bytes()


def _rows(home: Path) -> list[Target]:
    pool = ThreadPoolExecutor(1)
    text = render(rows(60, 0))

    def take(data: bytes) -> None:
        logs = Path(tempfile.mkdtemp(dir=home))
        place = StreamPosition(account=RowAccounting(malformed={}, lost={}))
        try:
            middle = len(data) // 2
            for seq, part in enumerate((data[:middle], data[middle:]), 1):
                block = m.Block(
                    muster_epoch=1, shepherd_epoch=1, spool=1, seq=seq, label="a", stream="ixgbe-log-core-0",
                    form="text", columns=COLUMNS, unfinished=not part.endswith(b"\n"), continues=seq > 1,
                )  # fmt: skip
                if part:
                    parquet.write(logs, "m", [ReceivedBlock(block, memoryview(part))], place, units={}, pool=pool)
            account = place.account
            if account.produced < account.written or min(account.lost.values(), default=0) < 0:
                raise AssertionError(f"{account} doesn't add up")
            if sum(account.malformed.values()) > data.count(b"\n") + 2:
                raise AssertionError(f"{account}: more lines set aside than came")
        finally:
            shutil.rmtree(logs)

    def twice(data: bytes) -> None:
        """What reads rows in C and what reads them where that isn't built see the same."""
        by_arrow = parse.read_by_arrow(data, COLUMNS)
        found = parse._read_fast(data, COLUMNS)
        if (found is None) != (by_arrow is None) or (found is not None and not found.table.equals(by_arrow)):
            here, there = found and len(found.table), by_arrow and len(by_arrow)
            raise AssertionError(f"{native.which()} reads {here} rows, Arrow {there}")

    def columns(data: bytes) -> None:
        logs = Path(tempfile.mkdtemp(dir=home))
        block = m.Block(
            muster_epoch=1, shepherd_epoch=1, spool=1, seq=1, label="a", stream="power", form="columns", columns=()
        )
        place = StreamPosition(account=RowAccounting(malformed={}, lost={}))
        try:
            parquet.write(logs, "m", [ReceivedBlock(block, memoryview(data))], place, units={}, pool=pool)
        except Exception:
            # As the writer does with whatever can't be kept as rows.
            parquet.set_aside(logs, "m", [ReceivedBlock(block, memoryview(data))], place)
        finally:
            shutil.rmtree(logs)

    def spool(data: bytes) -> None:
        folder = home / "spool"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        (folder / "spool.json").write_text('{"spool": 5}')
        (folder / f"{1:015d}.blocks").write_bytes(data.ljust(4 * 2**20, b"\0"))
        for path in folder.iterdir():
            path.chmod(0o600)
        made = Spool(folder, 16 * 2**20)
        for _, stored in made.recovered:
            made.load(stored)
        made.close(remove=True)

    some_columns = codec.encode(m.RowColumns(first=3, columns={"seconds": (1.0, 2.0, 3.0), "watts": (4.0, 5.0, 6.0)}))
    return [
        Target("rows", [text, b"\n".join(text.splitlines()[:5]) + b"\n"], take, ()),
        Target("rows by two readers", [text, text[:300]], twice, ()),
        Target("rows of columns", [some_columns], columns, (), binary=True),
        Target("spools", [_a_spool(home)], spool, (SpoolError,), binary=True),
    ]


def _a_spool(home: Path) -> bytes:
    from mustherd.muster.spool import Description

    folder = home / "whole-spool"
    made = Spool(folder, 16 * 2**20)
    for text in (b"1 2 3\n" * 50, b"4 5 6\n7"):
        made.begin(Description(label="a", stream="b", form="text", columns=("x", "y", "z")))
        made.room[: len(text)] = text
        made.end(len(text))
    made.close()
    [file] = folder.glob("*.blocks")
    return file.read_bytes().rstrip(b"\0")


def _stores(home: Path) -> list[Target]:
    whole = damaged.make(home / "whole" / "toy")
    folder = home / "toy"
    part = damaged.parts(whole)[0]

    def with_file(name: Path, *words: str) -> Callable[[bytes], object]:
        def reading(data: bytes) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(whole, folder)
            (folder / name).write_bytes(data)
            damaged.said(*words, folder, *(["--into", folder / "out", "--format", "csv"] if "export" in words else []))

        return reading

    def parquet_file(data: bytes) -> None:
        file = home / "file.parquet"
        file.write_bytes(data)
        with contextlib.suppress(DataError):
            from mustherd.rowlog.reader import Log

            log = Log(label="a", muster="b", stream="c", account=RowAccounting(), files=(file,))
            log.table()
            log.frame()

    inside = part.relative_to(whole)
    database = (whole / DATABASE).read_bytes()
    ledger = (whole / LOGS / FILE).read_bytes()
    small = home / "small.parquet"
    pq.write_table(pq.read_table(part).slice(0, 20), small)
    return [
        Target("stores", [database], with_file(Path(DATABASE), "experiment", "show"), (), binary=True),
        Target("ledgers", [ledger], with_file(Path(LOGS) / FILE, "log", "list"), (), binary=True),
        Target("parquet", [part.read_bytes(), small.read_bytes()], parquet_file, (), binary=True),
        Target("parquet in a folder", [part.read_bytes()], with_file(inside, "log", "export"), (), binary=True),
    ]


def _frames() -> list[Target]:
    decoders: dict[str, Callable[[bytes], object]] = {
        "pulse": codec.up, "log": codec.block, "coordinate": codec.call, "down": codec.down, "credit": codec.credit,
        "control": codec.decision,
    }  # fmt: skip
    made = Frames(1)
    return [
        Target(
            f"frames of {channel}", [made.message(channel) for _ in range(50)], decoders[channel], (ValueError,), True
        )
        for channel in CHANNELS
    ]
