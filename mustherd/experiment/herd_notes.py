"""What happens in the herd, written into the experiment's journal."""

from collections.abc import Mapping

from mustherd.experiment.provenance import keep, of_node
from mustherd.herd.membership import Change
from mustherd.reasons import Reason
from mustherd.shepherd.events import DecisionLost, HerdEvent, PresenceChanged, PutBack, StopAsked
from mustherd.store.store import Store
from mustherd.terms import LEFT, UNTOLD, not_as_found
from mustherd.wire.messages import Applied, MusterView


def note(store: Store, musters: Mapping[str, MusterView], event: HerdEvent) -> None:
    """Store an event of the herd; `musters` are its members as they are now."""
    match event:
        case PresenceChanged(change):
            _note_presence(store, musters.get(change.muster), change, str(event))
        case PutBack(muster, reason, readings) if left := not_as_found(readings):
            note_left(store, muster, f"{left}: {reason}")
        case PutBack(muster, reason):
            store.event("knobs-restored", str(event), {"muster": muster, "reason": reason})
        case DecisionLost(muster, seq):
            store.event("decision-lost", str(event), {"muster": muster, "decision": seq})
        case StopAsked():
            pass


def left_of(applied: Applied) -> str:
    """What a muster could not put back that was asked to give its node back, "" where all is back."""
    asked = (reading for reading in applied.readings if reading.asked is not None)
    return applied.detail or ("" if applied.outcome == "applied" else not_as_found(asked))


def note_left(store: Store, muster: str, left: str) -> None:
    """Store that a node could not be put back: `left` names each knob, what was found, and what it is at."""
    store.event(Reason.NOT_AS_FOUND, left_text(muster, left), {"muster": muster})


def left_text(muster: str, left: str) -> str:
    """The same in a sentence; a muster's own begins with as much."""
    begin = UNTOLD if left.startswith(UNTOLD) else LEFT
    return begin.replace("the node", f"the node of muster {muster}", 1) + left.removeprefix(begin)


def _note_presence(store: Store, view: MusterView | None, change: Change, text: str) -> None:
    muster, data = change.muster, {"muster": change.muster}
    store.set_muster(muster, state=change.after, facts=view.facts if view else None, knobs=view.knobs if view else None)
    if view is not None and change.new_life:
        # What it was at the start is kept once all are there; one that comes back may have been changed meanwhile.
        keep(store, {muster: of_node(view.facts)})
    if change.before is None:
        store.event("muster-joined", text, data)
    elif change.new_life:
        store.event("muster-restarted", text, data)
    else:
        store.event(f"muster-{change.after}", text, {**data, "silent_s": change.silent_s})
