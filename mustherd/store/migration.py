"""Folders of earlier versions: how their tables become those of today.

A folder that is opened to go on with is changed for good, in one transaction, while nobody runs it. One that is opened
to be read is never written: its tables are copied into memory, and the copy is changed.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from mustherd.goal import GUARD, PARALLEL, ROUNDS, Constraint, Goal, Objective
from mustherd.reasons import Reason
from mustherd.store import schema
from mustherd.terms import GUARD_LIMIT, Facts

OLDEST = 2
"""The oldest version that can still be read."""

_DIED = "the shepherd that ran it ended before the trial did"
"""How version 2 told an attempt whose shepherd died from one whose window the muster gave up: both were
`interrupted`."""

_CODES_OF_2 = {"misses": Reason.CACHE_MISSES, "stopped": Reason.RUN_ENDED, "superseded": Reason.DECISION_SUPERSEDED}


def migrate(database: sqlite3.Connection, version: int, now: float) -> None:
    """Bring the tables of `version`, from OLDEST on, to today's: all of it or, on an error, nothing.

    `now`: Unix seconds, for the journal, which is told of it.

    Raises sqlite3.Error, and ValueError where what is stored can't be understood.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        for step in range(version, schema.VERSION):
            _STEPS[step](database)
        text = f"the folder's tables were brought from version {version} to version {schema.VERSION}"
        data = msgspec.json.encode({"from": version, "to": schema.VERSION}).decode()
        database.execute("INSERT INTO event (at, kind, text, data) VALUES (?, 'migrated', ?, ?)", (now, text, data))
        database.execute(f"PRAGMA user_version = {schema.VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _from_2(database: sqlite3.Connection) -> None:
    """Columns by their contents' names, the goal beside the definition, reason codes that mean one thing each."""
    database.execute("ALTER TABLE trial RENAME COLUMN load TO load_report")
    database.execute("ALTER TABLE trial RENAME COLUMN demand TO load")
    database.execute("ALTER TABLE experiment ADD COLUMN goal TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(goal))")
    [resolved] = database.execute("SELECT resolved FROM experiment").fetchone()
    goal = _goal_of_2(json.loads(resolved))
    database.execute("UPDATE experiment SET goal = ?", (msgspec.json.encode(goal).decode(),))
    database.executemany("UPDATE trial SET reason = ? WHERE reason = ?", [(n, o) for o, n in _CODES_OF_2.items()])
    database.execute(
        "UPDATE trial SET reason = iif(detail = ?, ?, ?) WHERE reason = 'interrupted'",
        (_DIED, Reason.SHEPHERD_DIED, Reason.WINDOW_DROPPED),
    )
    # Why the search ended was the end of a sentence.
    database.execute(
        "UPDATE event SET data = json_object('why', iif(text LIKE '% minutes is used up%', 'budget-minutes',"
        " iif(text LIKE '% J is used up%', 'budget-joules', iif(text LIKE '%: every planned trial has run', 'trials',"
        " 'policy'))), 'text', substr(text, instr(text, ': ') + 2)) WHERE kind = 'search-over'"
    )
    for name, facts in database.execute("SELECT name, facts FROM muster WHERE facts != '{}'").fetchall():
        typed = msgspec.json.encode(facts_of_2(facts)).decode()
        database.execute("UPDATE muster SET facts = ? WHERE name = ?", (typed, name))


def _from_3(database: sqlite3.Connection) -> None:
    """Where in the confirmation a trial belongs: it then had one round after another, on any muster."""
    database.execute("ALTER TABLE trial ADD COLUMN round INTEGER NOT NULL DEFAULT 0 CHECK (round >= 0)")
    database.execute("ALTER TABLE trial ADD COLUMN place TEXT NOT NULL DEFAULT ''")


def _goal_of_2(resolved: Mapping[str, Any]) -> Goal:
    """The goal that version 2 read out of the resolved definition each time."""
    limits = [_limit_of_2(text) for text in resolved.get("constraints") or ()]
    guard = float((resolved.get("gates") or {}).get(GUARD, GUARD_LIMIT))
    wanted = resolved.get("objectives") or [resolved.get("objective") or "energy_joules"]
    how, qps = resolved.get("confirmation") or {}, (resolved.get("workload") or {}).get("qps") or ()
    return Goal(
        objectives=tuple(Objective.of(str(metric)) for metric in wanted),
        limits=tuple(limit for limit in limits if limit.metric != GUARD),
        guard=next((limit.limit for limit in limits if limit.metric == GUARD), guard),
        margin=float(how.get("margin") or 0.0),
        loads=tuple(sorted(map(float, qps if isinstance(qps, list | tuple) else [qps]))),
        repeats=int(resolved.get("repeats") or 0),
        rounds=int(how.get("rounds") or ROUNDS),
        parallel=int(how.get("candidates") or PARALLEL),
        seed=int((resolved.get("search") or {}).get("seed") or 0),
    )


def _limit_of_2(text: object) -> Constraint:
    """A limit as the resolved definition has it: `read_p99_us <= 500`, in the metric's own unit."""
    metric, sign, limit = str(text).split(" ")
    if sign not in ("<=", ">="):
        raise ValueError(f"{text!r} is no limit")
    return Constraint(metric, float(limit), sign == ">=")


def facts_of_2(stored: str) -> Facts:
    """A node's facts from their JSON, which in version 2 was text throughout."""
    found: dict[str, Any] = msgspec.json.decode(stored)
    if not all(isinstance(value, str) for value in found.values()):
        return msgspec.convert(found, Facts)
    typed: dict[str, Any] = {"kind": found.pop("kind", "")}
    typed |= {name: found.pop(name) for name in ("cpu", "kernel", "interface", "nic_driver") if name in found}
    typed["loads_itself"] = typed["kind"] == "twin"
    for name in ("cores", "packages", "tsc_khz"):
        if found.get(name, "").isdecimal():
            typed[name] = int(found.pop(name))
    low, _, high = found.get("plausible_watts", "").partition("..")
    with suppress(ValueError):
        typed["plausible_watts"] = (float(low), float(high) if math.isfinite(float(high)) else None)
        del found["plausible_watts"]
    host, _, port = found.get("memcached", "").rpartition(":")
    if port.isdecimal():
        typed["address"] = (host, int(port))
        del found["memcached"]
    return Facts(**typed, text=found)


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {2: _from_2, 3: _from_3}
"""Version to what makes the next one of it."""
