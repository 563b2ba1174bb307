"""What the musters of a herd on this machine left changed when nobody was there any more to put it back.

A muster puts its node back, or its guardian does. Where both were killed, and whoever would have started the muster
again, the journal in the experiment's folder still has the originals: they are put back when the experiment's command
ends, and when it is gone on with; whoever looks at it is told.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mustherd.errors import UserError
from mustherd.experiment.herd_notes import left_text, note_left
from mustherd.muster.claims import Kept
from mustherd.muster.config import load
from mustherd.muster.journal import WORD_NAME, left_changed
from mustherd.muster.pasture import said
from mustherd.muster.restore import restore, take_word
from mustherd.store.store import Store
from mustherd.terms import Reading, what_is_left

HERD = "herd"
"""The folder of the musters of this machine, in an experiment's folder."""
CONFIG = "muster.toml"


def left_in(folder: Path) -> list[str]:
    """Every node that was left changed, a sentence each with what puts it back; nothing is written."""
    sentences = []
    try:
        musters = list(_musters(folder))
    except OSError as error:
        return [f"whether nodes were left changed can't be told: {error.strerror or error}"]
    for muster, config in musters:
        try:
            originals = left_changed(Path(load(config).state))
        except UserError as error:
            sentences.append(f"the node of muster {muster} may be changed: {error}")
            continue
        if originals:
            sentences.append(
                f"the node of muster {muster} is NOT as it was found ({_found(originals)}): mustherd knob restore"
                f" --config {config}"
            )
    return sentences


def put_back(store: Store, *, ended: bool = False) -> str:
    """Put back what was left changed, and say so in the journal; gives what could not be, "" where all is well.

    `ended`: the musters have ended, so that who has a state folder is a guardian at it. Else it may be a muster.
    """
    left = []
    for muster, config in _musters(store.folder):
        try:
            what = _put_back(store, muster, config, ended=ended)
        except UserError as error:
            what = str(error)
        if what:
            note_left(store, muster, what)
            left.append(left_text(muster, what))
    return "; ".join(left)


def fail(store: Store, why: str) -> None:
    """Say of an experiment that it has failed, whatever it found: a run that resumes it tries again."""
    store.set_status("failed", why)
    store.event("failed", why)


def _put_back(store: Store, muster: str, config: Path, *, ended: bool) -> str:
    """The same of one muster; and say what its guardian did, which nobody was there to hear."""
    state = Path(load(config).state)
    done: tuple[Reading, ...] = ()
    untold = ""
    if originals := left_changed(state, ended=ended):
        try:
            found = restore(config)
        except UserError as error:
            return f"{_found(originals)}: {error}"
        done, untold = found.readings, found.untold
    word = take_word(state) if (state / WORD_NAME).exists() else None
    left = what_is_left(done if word is None else word.readings, untold)
    if left or word is None:
        return left
    back = ", ".join(f"{r.knob} {r.applied}" for r in word.readings)
    text = f"the node of muster {muster} was put back ({back}): {word.reason}"
    store.event("knobs-restored", text, {"muster": muster, "reason": word.reason})
    return ""


def _found(originals: Mapping[tuple[str, str], Kept]) -> str:
    return ", ".join(f"{knob} on {sheep} was found at {said(kept)}" for (sheep, knob), kept in originals.items())


def _musters(folder: Path) -> Iterator[tuple[str, Path]]:
    for config in sorted((folder / HERD).glob(f"*/{CONFIG}")):
        yield config.parent.name, config
