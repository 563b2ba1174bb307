"""Every timing constant of the herd, in one place, in seconds."""

BEAT_PERIOD_S = 0.4
"""Between two heartbeats, both ways."""

BEAT_WAIT_S = 0.44
"""How long a muster's next beat waits for the shepherd's: as its answer, it costs the node no wake-up of its own."""

LATE_AFTER_S = 0.8
"""Silence after which a muster is late: worth a mark, nothing is given up."""

MISSING_AFTER_S = 1.2
"""Silence after which a muster is missing: its trial is invalid, it gets no new one. Three beats, below 1.5 s."""

DEAD_AFTER_S = 15.0
"""Silence after which a muster is dead: its lease has long ended."""

LEASE_S = 3.0
"""How long a decision holds on a muster after the newest heartbeat that renewed it; the muster's own choice."""

DECISION_TTL_S = 1.0
"""A copy of a decision older than this is not acted on: what sat in a queue is history."""

DECISION_RESEND_S = 0.1
"""First pause before an unacknowledged decision is published again; doubles up to the next."""
DECISION_RESEND_MAX_S = 0.8

DECISION_GIVE_UP_S = 10.0
"""An unacknowledged decision is given up after this; what is wanted of the muster is then the node as it was found."""

LINK_RESEND_S = 0.3
"""Pause before an unacknowledged frame on pulse is sent again; doubles up to the next."""
LINK_RESEND_MAX_S = 2.0

HELLO_PERIOD_S = 0.5
"""Between two hellos of a muster that nobody has welcomed."""

CONNECT_PERIOD_S = 0.1
"""Between two attempts to say hello while nobody listens."""

WELCOME_MAX_S = 1.0
"""A welcome that comes later than this after its hello is not taken: it says too little about the shepherd's clock."""

OFFSET_WINDOW_S = 60.0
"""A clock offset is the smallest difference over one to two windows this long. Crystals differ by up
to 100 ppm (6 ms in a minute): a smallest difference kept for hours would make every message look old."""

REFUSED_PERIOD_S = 5.0
"""Between two hellos of a muster that was refused."""

FLOW_RESEND_S = 1.0
"""Pause before an unacknowledged log block is sent again."""

UNHEARD_HELLOS = 30
"""Hellos that nobody took, some 3 s of them, before a muster's log says so."""

RESTORE_RETRY_S = 5.0
"""First pause before a knob that would not go back is tried again; doubles up to the next."""
RESTORE_RETRY_MAX_S = 60.0
