"""The journal of what happened, and what is known of each muster."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mustherd.store import records
from mustherd.store.opened import OpenDatabase, one_change
from mustherd.store.records import Event, MusterRecord
from mustherd.terms import Facts, KnobInfo


class Journal(OpenDatabase):
    """Events and musters. Both survive a kill; a power cut may take the last ones."""

    @one_change
    def event(self, kind: str, text: str, data: Mapping[str, Any] | None = None) -> int:
        """Append to the journal; gives the event's id. Events survive a kill; a power cut may take the last ones."""
        with self._write(durable=False) as database:
            made = database.execute(
                "INSERT INTO event (at, kind, text, data) VALUES (?, ?, ?, ?)",
                (self._now(), kind, text, records.text(dict(data or {}))),
            )
            return int(made.lastrowid or 0)

    def events(
        self, since_id: int = 0, *, kinds: Collection[str] = (), left_out: list[str] | None = None
    ) -> list[Event]:
        """Events after `since_id`, oldest first; of `kinds` alone, where any are named.

        StoreError names the first one that can't be read; with `left_out` it gets a line for each, and gives the rest.
        """
        only = f" AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        found = self._read(
            f"SELECT id, at, kind, text, data FROM event WHERE id > ?{only} ORDER BY id",  # noqa: S608
            (since_id, *kinds),
        )
        return self._each(found, records.event, _called, left_out)

    def last_event(self, kind: str) -> Event | None:
        """The newest event of a kind; None where there is none."""
        found = self._read(
            "SELECT id, at, kind, text, data FROM event WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,)
        )
        return self._each(found, records.event, _called, None)[0] if found else None

    @one_change
    def set_muster(
        self,
        name: str,
        *,
        state: str | None = None,
        facts: Facts | None = None,
        knobs: Sequence[KnobInfo] | None = None,
    ) -> None:
        """Store what is known of a muster; what isn't given stays as it was."""
        with self._write(durable=False) as database:
            database.execute("INSERT OR IGNORE INTO muster (name, changed_at) VALUES (?, ?)", (name, self._now()))
            database.execute(
                "UPDATE muster SET state = coalesce(?, state), facts = coalesce(?, facts),"
                " knobs = coalesce(?, knobs), changed_at = ? WHERE name = ?",
                (
                    state,
                    None if facts is None else records.text(facts),
                    None if knobs is None else records.text(list(knobs)),
                    self._now(),
                    name,
                ),
            )

    def musters(self, *, left_out: list[str] | None = None) -> dict[str, MusterRecord]:
        """Every muster that was ever part of the experiment, by name; `left_out` as in `events`."""
        found = self._read("SELECT name, state, facts, knobs, changed_at FROM muster ORDER BY name")
        read = self._each(found, records.muster, lambda row: f"muster {row[0]}", left_out)
        return {one.name: one for one in read}


def _called(row: tuple[object, ...]) -> str:
    return f"event {row[0]}"
