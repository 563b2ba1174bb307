"""What happens in a herd, as text."""

import pytest

from mustherd.herd.membership import Change, Presence
from mustherd.shepherd.events import DecisionLost, HerdEvent, PresenceChanged, PutBack, StopAsked


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (PresenceChanged(Change("m", None, Presence.ALIVE, new_life=True)), "muster m joined"),
        (PresenceChanged(Change("m", Presence.DEAD, Presence.ALIVE, new_life=True)), "muster m started again"),
        (
            PresenceChanged(Change("m", Presence.ALIVE, Presence.LATE, silent_s=1.25)),
            "muster m is late after 1.2 s of silence",
        ),
        (DecisionLost("m", 7), "decision 7 is not in force on muster m any more"),
        (PutBack("m", "lease", ()), "muster m put its node back (nothing to do): lease"),
        (StopAsked("operator alice"), "operator alice asked for an orderly end"),
    ],
)
def test_what_happens_in_a_herd_is_a_sentence(event: HerdEvent, sentence: str) -> None:
    assert str(event) == sentence
