"""What the shell completes: experiments' folders, musters, knobs, names of plug-ins. It imports nothing that is slow.

Everything is read off this machine's disk: a key pressed asks no shepherd and changes nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from mustherd.store import EXPERIMENTS

STORE = "store.sqlite"
MOST = 200
"""Folders that are offered."""

Complete = Callable[[str], list[str]]


def folders(incomplete: str) -> list[str]:
    """Experiments whose folder begins so, newest first."""
    found = [folder for folder in _experiments(incomplete) if str(folder).startswith(incomplete)]
    return [str(folder) for folder in sorted(found, key=_age)][:MOST]


def musters(incomplete: str) -> list[str]:
    """Musters of the newest experiment that begin so."""
    for folder in sorted(_experiments(""), key=_age):
        return [name for name in _musters_of(folder) if name.startswith(incomplete)]
    return []


def names_of(*groups: str) -> Complete:
    """Plug-ins of these groups of entry points that begin so."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in _names(*groups) if name.startswith(incomplete)]

    return complete


def knob_values(incomplete: str) -> list[str]:
    """`KNOB=` for knobs that begin so; the value is the user's."""
    return [f"{name}=" for name in _names("mustherd.knobs") if name.startswith(incomplete)]


def changes(incomplete: str) -> list[str]:
    """Beginnings of `--set KEY=VALUE` with a name in them."""
    made = [f"knobs.{name}=" for name in _names("mustherd.knobs")]
    made += [f"policy={name}" for name in _names("mustherd.policies")]
    made += [f"search.method={name}" for name in _names("mustherd.searches")]
    return [text for text in made if text.startswith(incomplete)]


def _names(*groups: str) -> list[str]:
    from mustherd.plugins import plugins

    return sorted({name for group in groups for name in plugins(group)})


def _experiments(incomplete: str) -> Iterator[Path]:
    """Folders with a store: right below the current one, below ./experiments, and below what is typed."""
    typed = Path(incomplete if incomplete.endswith("/") else incomplete.rpartition("/")[0] or ".")
    for parent in dict.fromkeys((EXPERIMENTS, Path(), typed)):
        try:
            yield from (path.parent for path in parent.glob(f"*/{STORE}"))
        except OSError:
            continue


def _age(folder: Path) -> float:
    """Less for a newer one."""
    try:
        return -(folder / STORE).stat().st_mtime
    except OSError:
        return 0.0


def _musters_of(folder: Path) -> list[str]:
    import sqlite3
    from contextlib import closing

    from mustherd import guard

    try:
        guard.require_plain_database(folder / STORE)
        with closing(
            sqlite3.connect(f"{(folder / STORE).absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)
        ) as store:
            return [name for (name,) in store.execute("SELECT name FROM muster ORDER BY name")]
    except (sqlite3.Error, guard.GuardError):
        return []
