"""The store's tables, as SQL that a person may query: `sqlite3 store.sqlite 'select * from trial'`.

Times are Unix seconds; a column named after a metric has the metric's unit. A value that was not a finite number is
NULL. JSON columns can be taken apart with SQLite's json_extract, for example every trial with its delay::

    select number, json_extract(settings, '$."itr-delay"') as itr_us, energy_joules, read_p99_us
    from trial where state = 'finished' order by energy_joules;

Tables

- `experiment`, one row: name, definition (the experiment file's text), digest (of the definition), resolved (JSON: the
  definition with every default filled in), goal (JSON as in mustherd.goal: what it is after), versions (JSON),
  created_at, status and its detail and time, phase (of the loop), plan (JSON: kind of trial to planned
  number), verdict (JSON, NULL until there is one), wall_seconds (of the runs that have ended) and running_since (NULL
  when no run is under way).
- `trial`, one row per attempt at a numbered trial: number, attempt, kind, state, reason, detail, muster, round and
  place (the confirmation's step, and the muster that it has to run on), settings (JSON), load (JSON: the load asked
  for, where trials have loads of their own), queued_at, started_at, ended_at, metrics (JSON), readings, energies,
  load_report (JSON as in mustherd.trial and mustherd.terms), and from the metrics energy_joules, read_p99_us and
  achieved_ratio as columns of their own.
- `result`, a view: the one finished attempt of every number that has one, with its wall_seconds.
- `event`, the journal: id, at, kind, text, data (JSON). Rows are never changed.
- `muster`, one row per muster: name, state (as its membership last was), facts (JSON), knobs (JSON), changed_at.
"""

APPLICATION_ID = 0x4D484552
"""`MHER`: marks the file as ours, for `file` and for us."""

VERSION = 4
"""Raised with every change of the tables. mustherd.store.migration reads earlier ones; later ones are refused."""

SQL = """
CREATE TABLE experiment (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    digest TEXT NOT NULL,
    resolved TEXT NOT NULL CHECK (json_valid(resolved)),
    versions TEXT NOT NULL CHECK (json_valid(versions)),
    created_at REAL NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('created', 'running', 'stopped', 'done', 'failed')),
    status_detail TEXT NOT NULL DEFAULT '',
    status_at REAL NOT NULL,
    phase TEXT NOT NULL DEFAULT '',
    plan TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(plan)),
    verdict TEXT CHECK (verdict IS NULL OR json_valid(verdict)),
    wall_seconds REAL NOT NULL DEFAULT 0,
    running_since REAL,
    goal TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(goal))
);

CREATE TABLE trial (
    number INTEGER NOT NULL CHECK (number >= 0),
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    kind TEXT NOT NULL CHECK (kind IN ('baseline', 'search', 'confirm')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'invalid', 'failed')),
    reason TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    muster TEXT NOT NULL DEFAULT '',
    round INTEGER NOT NULL DEFAULT 0 CHECK (round >= 0),
    place TEXT NOT NULL DEFAULT '',
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    load TEXT CHECK (load IS NULL OR json_valid(load)),
    queued_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    metrics TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metrics)),
    readings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(readings)),
    energies TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(energies)),
    load_report TEXT CHECK (load_report IS NULL OR json_valid(load_report)),
    energy_joules REAL GENERATED ALWAYS AS (json_extract(metrics, '$.energy_joules')) VIRTUAL,
    read_p99_us REAL GENERATED ALWAYS AS (json_extract(metrics, '$.read_p99_us')) VIRTUAL,
    achieved_ratio REAL GENERATED ALWAYS AS (json_extract(metrics, '$.achieved_ratio')) VIRTUAL,
    PRIMARY KEY (number, attempt)
);

-- At most one attempt of a number is under way or finished: no trial counts twice, whatever the code above does.
CREATE UNIQUE INDEX trial_counts_once ON trial (number) WHERE state IN ('queued', 'running', 'finished');

CREATE VIEW result AS
    SELECT *, ended_at - started_at AS wall_seconds FROM trial WHERE state = 'finished';

CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data))
);

CREATE TABLE muster (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL DEFAULT '',
    facts TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(facts)),
    knobs TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(knobs)),
    changed_at REAL NOT NULL
);
"""
