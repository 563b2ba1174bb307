"""A folder that is damaged, copied while it runs, of another version or read-only: a line each, the rest is shown."""

import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from mustherd.experiment.loop import past_of
from mustherd.rowlog.ledger import FILE, Ledger
from mustherd.store.errors import StoreError
from mustherd.store.schema import VERSION
from mustherd.store.store import DATABASE, DEFINITION, LOGS, Store
from mustherd.trial import Trial, TrialKind, TrialState
from tests import running
from tests.store import damaged
from tests.store.damaged import change, copy, cut, parts, said, shown, turn_bits

DEEP = "[" * 900 + "]" * 900
ODD = ["[1]", "{}", '{"a": [[]], "energy_joules": 1e308, "knobs": [[1]], "qps": "x"}', DEEP]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 8))]
COLUMNS = {
    "experiment": ("resolved", "versions", "plan", "verdict", "goal"),
    "trial": ("settings", "load", "metrics", "readings", "energies", "load_report"),
    "event": ("data",),
    "muster": ("facts", "knobs"),
}
PLAIN = {
    "experiment": ("name", "created_at", "status", "wall_seconds", "running_since", "status_at"),
    "trial": ("kind", "state", "muster", "queued_at", "started_at", "ended_at", "detail"),
    "event": ("at", "text"),
    "muster": ("state", "changed_at"),
}


def set_(folder: Path, table: str, column: str, value: object, file: str = DATABASE) -> None:
    """Another value in a table's first row."""
    change(
        folder,
        f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT min(rowid) FROM {table})",  # noqa: S608 (names are ours)
        value,
        file=file,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damaged.make(tmp_path_factory.mktemp("whole") / "toy")


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    return copy(whole, tmp_path / "toy")


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, columns in COLUMNS.items() for c in columns])
def test_odd_json_in_any_column_is_a_line(broken: Path, table: str, column: str) -> None:
    with sqlite3.connect(broken / DATABASE) as made:
        [[was]] = made.execute(f"SELECT {column} FROM {table} ORDER BY rowid LIMIT 1")  # noqa: S608 (names are ours)
    made.close()
    for odd in ODD:
        set_(broken, table, column, odd)
        found = shown(broken, wholly=table == "experiment")
        if table != "experiment":
            # All but this row is there.
            assert found.code == 0, (odd, found.lines)
            assert "default" in found.out
        set_(broken, table, column, was)
    assert shown(broken).lines == []


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, columns in PLAIN.items() for c in columns])
def test_another_kind_of_value_in_any_column_is_a_line(broken: Path, table: str, column: str) -> None:
    for odd in ("x", b"\xff\xfe", 1e308):
        set_(broken, table, column, odd)
        shown(broken, wholly=table == "experiment")


def test_what_can_be_read_of_an_odd_trial_s_experiment_is_shown_and_reported(broken: Path, tmp_path: Path) -> None:
    change(broken, "UPDATE trial SET metrics = '[]' WHERE number = 3")
    found = shown(broken)
    assert found.code == 0
    [line] = found.lines
    assert f"{broken}: trial 3-1 can't be read: Expected" in line
    assert json.loads(said("experiment", "show", broken, "--json").out)["unreadable"] == [
        line.removeprefix("mustherd: ")
    ]
    assert {row.split()[0] for row in found.out.splitlines() if row[:5].strip().isdecimal()} >= {"1", "2", "4"}
    to = tmp_path / "r.html"
    assert said("experiment", "report", broken, "--to", to).code == 0
    assert "trial 3-1 can&#39;t be read" in to.read_text()


def test_a_number_that_nothing_measures_is_not_counted(broken: Path) -> None:
    change(broken, "UPDATE trial SET metrics = json_set(metrics, '$.energy_joules', 1e308) WHERE number = 3")
    change(broken, "UPDATE experiment SET verdict = NULL")
    found = shown(broken)
    assert found.code == 0
    assert "trial 3-1 can't be read: energy_joules is 1e+308" in found.lines[0]


@pytest.mark.parametrize(
    "sql", [f"PRAGMA user_version = {VERSION + 96}", "PRAGMA application_id = 1", "DROP TABLE event"]
)
def test_what_is_not_ours_to_read_is_one_line(broken: Path, sql: str) -> None:
    change(broken, sql)
    for words in ("show", "report", "status", "table"):
        found = said("experiment", words, broken)
        assert found.code == 2
        assert len(found.lines) == 1
        assert str(broken) in found.lines[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_database_that_is_cut_or_has_other_bits(whole: Path, tmp_path: Path, seed: int) -> None:
    r = random.Random(seed)
    size = (whole / DATABASE).stat().st_size
    for turn in range(6):
        folder = copy(whole, tmp_path / f"toy-{turn}" / "toy")
        if turn % 3 == 0:
            cut(folder / DATABASE, r.choice([0, 100, 4096, r.randrange(size)]))
        else:
            turn_bits(folder / DATABASE, r, r.choice([1, 10, 200]))
        found = shown(folder, wholly=turn == 0)
        assert len(found.lines) <= 1 or found.code == 0, found.lines


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ledger_that_is_cut_or_has_other_bits_hides_no_trial(whole: Path, tmp_path: Path, seed: int) -> None:
    r = random.Random(seed)
    size = (whole / LOGS / FILE).stat().st_size
    for turn in range(4):
        folder = copy(whole, tmp_path / f"toy-{turn}" / "toy")
        if turn % 2:
            cut(folder / LOGS / FILE, r.choice([0, 100, 4096, r.randrange(size)]))
        else:
            turn_bits(folder / LOGS / FILE, r, r.choice([1, 10, 200]))
        found = shown(folder)
        assert found.code == 0
        assert "default" in found.out
        for words in (["log", "list", folder], ["log", "export", folder, "--into", folder / "out", "--format", "csv"]):
            assert len(said(*words).lines) <= len(damaged.LOGGED) * damaged.CORES


@pytest.mark.parametrize("column", ["rows", "first_row", "path", "stream"])
def test_odd_values_in_a_ledger_are_a_line(broken: Path, column: str) -> None:
    for odd in ("x", b"\xff", -1, 2**62, "../../../../etc/passwd"):
        set_(broken, "part", column, odd, f"{LOGS}/{FILE}")
        assert shown(broken).code == 0
        assert len(said("log", "list", broken).lines) <= 1
        assert len(said("log", "export", broken, "--into", broken / f"{odd!r:.3}", "--format", "csv").lines) <= 2


@pytest.mark.parametrize("form", ["csv", "intlog", "parquet"])
def test_a_file_of_rows_that_is_cut_changed_or_gone_is_a_line_and_the_others_are_written(
    whole: Path, tmp_path: Path, form: str
) -> None:
    r = random.Random(form)
    numbers = count()
    for how in ("gone", "empty", "half", "bits", "bits", "bits"):
        folder = copy(whole, tmp_path / f"{next(numbers)}" / "toy")
        bad, *others = parts(folder)
        match how:
            case "gone":
                bad.unlink()
            case "empty":
                cut(bad, 0)
            case "half":
                cut(bad, bad.stat().st_size // 2)
            case _:
                # Among the rows, where nothing but a checksum shows it.
                with bad.open("r+b") as opened:
                    opened.seek(r.randrange(1000, 5000))
                    byte = opened.read(1)
                    opened.seek(-1, 1)
                    opened.write(bytes([byte[0] ^ (1 << r.randrange(8))]))
        into = folder / "out"
        found = said("log", "export", folder, "--into", into, "--format", form)
        # Others are written: 2 would say that nothing is.
        assert found.code == 74, how
        [line, more] = found.lines
        assert f"{bad} can't be read" in line
        assert f"{len(others)} other files were written" in more
        assert len([path for path in into.rglob("*") if path.is_file()]) == len(others)
        assert shown(folder).code == 0


def test_a_folder_copied_while_it_is_written_is_shown_or_told(tmp_path: Path, whole: Path) -> None:
    folder = copy(whole, tmp_path / "toy")
    numbers = count(1000)
    with Store.open(folder) as store:

        def write() -> None:
            trial = store.start(store.add(Trial(number=next(numbers), kind=TrialKind.SEARCH, settings={})), "muster-0")
            trial.state, trial.metrics = TrialState.FINISHED, {"energy_joules": 1000.0, "read_p99_us": 100.0}
            store.finish(trial)
            store.event("note", "x" * 500)

        with damaged.written_meanwhile(folder, write):
            for turn in range(4):
                found = shown(copy(folder, tmp_path / f"copy-{turn}" / "toy"))
                assert len(found.lines) <= 1, found.lines
    assert shown(folder).lines == []


@pytest.mark.parametrize(("file", "name"), [(DATABASE, b"ON trial (number)"), (f"{LOGS}/{FILE}", b"ON part (label")])
def test_a_name_in_a_schema_that_is_no_text_any_more_is_a_line(broken: Path, file: str, name: bytes) -> None:
    for path in (broken / file, broken / f"{file}-wal"):
        if path.exists():
            path.write_bytes(path.read_bytes().replace(name, name.replace(b"a", b"\xb9", 1)))
    found = shown(broken, wholly=True)
    assert len(found.lines) == 1
    assert len(said("log", "list", broken).lines) <= 1


ENDLESS = "AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS number, * FROM n JOIN was"


@pytest.mark.parametrize("table", ["experiment", "trial", "event", "muster"])
def test_a_view_in_a_table_s_place_is_not_asked(broken: Path, table: str) -> None:
    """It can be made to go on for ever, for whoever lists the folder that it lies in."""
    change(broken, "DROP VIEW result")  # which would be changed by what follows, and named instead
    change(broken, f"ALTER TABLE {table} RENAME TO was")
    change(broken, f"CREATE VIEW {table} {ENDLESS}")
    found = shown(broken, wholly=True)
    [line] = found.lines
    assert line.endswith(f"can't be read: it has a view '{table}', which none of ours has")


def test_a_view_of_our_name_with_other_contents_is_not_asked(broken: Path) -> None:
    """Whatever was called `result` passed."""
    change(broken, "DROP VIEW result")
    change(broken, f"CREATE VIEW result {ENDLESS.replace(' JOIN was', '')}")
    [line] = shown(broken, wholly=True).lines
    assert line.endswith("can't be read: it has a view 'result', which none of ours has")


def test_a_virtual_table_in_whatever_spelling_is_refused(broken: Path) -> None:
    with contextlib.closing(sqlite3.connect(broken / DATABASE, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = 1")
        row = ("table", "odd", "odd", 0, "CREATE/**/VIRTUAL TABLE odd USING fts5(x)")
        database.execute("INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES (?, ?, ?, ?, ?)", row)
    with pytest.raises(StoreError, match="it has a virtual table 'odd'"):
        Store.open(broken)


def test_a_view_in_the_ledger_is_not_asked(broken: Path) -> None:
    change(broken, "ALTER TABLE part RENAME TO was", file=f"{LOGS}/{FILE}")
    change(broken, f"CREATE VIEW part {ENDLESS}", file=f"{LOGS}/{FILE}")
    for words in (["log", "list", broken], ["log", "export", broken, "--into", broken / "out", "--format", "csv"]):
        [line] = said(*words).lines
        assert "it has a view 'part', which none of ours has" in line
    assert shown(broken).code == 0
    with pytest.raises(StoreError, match="a view 'part'"):
        Ledger(broken / LOGS, write=True)


def test_a_trigger_that_would_change_what_is_written_is_refused(broken: Path) -> None:
    change(broken, "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM trial; END")
    with pytest.raises(StoreError, match="it has a trigger 't'"):
        Store.open(broken)


@pytest.mark.parametrize("column", ["metrics", "settings"])
def test_a_value_that_would_take_a_gigabyte_is_not_read(broken: Path, column: str) -> None:
    """A few bytes of file make it: a column that is worked out when it is read."""
    change(broken, "DROP VIEW result")
    change(broken, "ALTER TABLE trial RENAME TO was")
    names = [row[1] for row in sqlite3.connect(broken / DATABASE).execute("PRAGMA table_info(was)")]
    told = ", ".join(f"{n} GENERATED ALWAYS AS (hex(zeroblob(499999999)))" if n == column else n for n in names)
    change(broken, f"CREATE TABLE trial ({told})")
    rest = ", ".join(n for n in names if n != column)
    change(broken, f"INSERT INTO trial ({rest}) SELECT {rest} FROM was")  # noqa: S608 (names are ours)
    found = shown(broken)
    assert len(found.lines) == 1
    assert "too big" in found.lines[0]


def test_what_is_missing_is_named(broken: Path) -> None:
    (broken / DEFINITION).unlink()
    assert shown(broken).code == 0
    (broken / DATABASE).unlink()
    assert f"it has no {DATABASE}" in said("experiment", "show", broken).lines[0]
    shutil.rmtree(broken / LOGS)
    assert len(said("log", "list", broken).lines) == 1


READ_ONLY = """
import subprocess, sys
from pathlib import Path
from tests.store.damaged import said
folder = Path(sys.argv[1])
subprocess.run(["mount", "--bind", folder, folder], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", folder, folder], check=True)
for words in (["show", folder], ["status", folder], ["report", folder], ["report", folder, "--to", sys.argv[2]]):
    found = said("experiment", *words)
    print(found.code, *found.lines, sep="|")
found = said("experiment", "resume", folder)
print(found.code, *found.lines, sep="|")
"""


@pytest.mark.long
@pytest.mark.process
def test_a_folder_that_is_read_only_is_shown_and_not_gone_on_with(broken: Path, tmp_path: Path) -> None:
    folder = broken
    change(folder, "UPDATE experiment SET status = 'stopped'")
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", READ_ONLY]
    done = subprocess.run(
        [*command, str(folder), str(tmp_path / "r.html")],
        capture_output=True,
        text=True,
        cwd=running.PYTHONPATH,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    show, status, report, elsewhere, resume = done.stdout.splitlines()
    assert (show, status, elsewhere) == ("0", "0", "0")
    assert report.startswith("2|the report can't be written to ")
    assert "Read-only file system" in report
    assert resume.startswith("2|")
    assert str(folder) in resume


def test_an_odd_trial_is_not_gone_on_with_and_named(broken: Path) -> None:
    change(broken, "UPDATE trial SET readings = '[3]' WHERE number = 3")
    with Store.open(broken) as store, pytest.raises(StoreError, match="trial 3-1 can't be read: Expected"):
        past_of(store)


def test_a_ledger_of_a_newer_version_is_one_line(broken: Path) -> None:
    change(broken, "UPDATE log SET version = 99", file=f"{LOGS}/{FILE}")
    [line] = said("log", "list", broken).lines
    assert "is of version 99" in line
    found = shown(broken)
    assert (found.code, len(found.lines)) == (0, 1)
    change(broken, "UPDATE log SET version = 1", file=f"{LOGS}/{FILE}")
    with Ledger(broken / LOGS) as ledger:
        assert len(ledger.parts()) == len(damaged.LOGGED) * damaged.CORES
